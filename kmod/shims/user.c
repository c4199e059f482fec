// SPDX-License-Identifier: GPL-2.0-only
/* User memory: the C half of klp::core::user. */
#include <linux/uaccess.h>

unsigned long klp_shim_user_copy_to(void __user *to, const void *from, unsigned long size)
{
	return _copy_to_user(to, from, size);
}

unsigned long klp_shim_user_copy_from(void *to, const void __user *from, unsigned long size)
{
	return _copy_from_user(to, from, size);
}

/* copy_to_user() and copy_from_user() make this check where the size is no constant. */
void klp_shim_user_check(const void *memory, unsigned long size, bool to_user)
{
	check_object_size(memory, size, to_user);
}

#define WORD(bits)								\
int klp_shim_user_get_##bits(u##bits *value, const u##bits __user *from)	\
{										\
	return get_user(*value, from);						\
}										\
										\
int klp_shim_user_put_##bits(u##bits value, u##bits __user *to)			\
{										\
	return put_user(value, to);						\
}

WORD(8)
WORD(16)
WORD(32)
WORD(64)
#undef WORD
