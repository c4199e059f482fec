/* SPDX-License-Identifier: GPL-2.0-only */
/* A live patch in C that replaces one function of the kernel. */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>

/* Tables as the kernel's samples have them: no symbol with a name that anyone expects. */
#define LIVE_PATCH_IN(place, name, replacement)					\
	static struct klp_func table_of_functions[] place = {			\
		{ .old_name = name, .new_func = replacement }, { }		\
	};									\
	static struct klp_object table_of_objects[] = {				\
		{ .funcs = table_of_functions }, { }				\
	};									\
	static struct klp_patch the_patch = {					\
		.mod = THIS_MODULE, .objs = table_of_objects, .replace = true,	\
	};									\
	static int __init start(void) { return klp_enable_patch(&the_patch); }	\
	static void __exit end(void) { }					\
	module_init(start);							\
	module_exit(end);							\
	MODULE_LICENSE("GPL");							\
	MODULE_INFO(livepatch, "Y")

#define LIVE_PATCH(name, replacement) LIVE_PATCH_IN(, name, replacement)

/* The compiler does not know what becomes of the memory. */
#define USED(memory) asm volatile("" : : "r"(memory) : "memory")
