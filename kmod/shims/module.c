// SPDX-License-Identifier: GPL-2.0-only
/* The module itself: the C half of klp::core::module. */

const char *klp_shim_module_name(void)
{
	return KBUILD_MODNAME;
}
