/* SPDX-License-Identifier: GPL-2.0-only */
/* A live patch in C that replaces one function of the kernel. */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>

/* Start and end of a module. */
#define MODULE_THAT_STARTS(body)						\
	static int __init start(void) body					\
	static void __exit end(void) { }					\
	module_init(start);							\
	module_exit(end);							\
	MODULE_LICENSE("GPL");							\
	MODULE_INFO(livepatch, "Y")

/* A live patch of these objects. */
#define LIVE_PATCH_OF(objects)							\
	static struct klp_patch the_patch = {					\
		.mod = THIS_MODULE, .objs = objects, .replace = true,		\
	};									\
	MODULE_THAT_STARTS({ return klp_enable_patch(&the_patch); })

/* The usual replacement. */
#define SHOW_PATCHED								\
	static int show(struct seq_file *m, void *v)				\
	{									\
		seq_puts(m, "patched\n");					\
		return 0;							\
	}

/* Tables as the kernel's samples have them: no symbol with a name that anyone expects. */
#define LIVE_PATCH_IN(place, name, replacement)					\
	static struct klp_func table_of_functions[] place = {			\
		{ .old_name = name, .new_func = replacement }, { }		\
	};									\
	static struct klp_object table_of_objects[] = {				\
		{ .funcs = table_of_functions }, { }				\
	};									\
	LIVE_PATCH_OF(table_of_objects)

#define LIVE_PATCH(name, replacement) LIVE_PATCH_IN(, name, replacement)

/* The compiler does not know what becomes of the memory. */
#define USED(memory) asm volatile("" : : "r"(memory) : "memory")
