// SPDX-License-Identifier: GPL-2.0-only
/*
 * Functions whose originals a live patch calls: eleven arguments, structs by value, and a result in memory. /proc/klp_around
 * has the result for parameter seed; parameter calls counts the calls.
 */
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

struct klp_around_quad {
	u64 a, b, c, d;
};

struct klp_around_pair {
	u64 low, high;
};

struct klp_around_quad klp_around_many(struct klp_around_quad quad, u8 byte, bool flag, struct klp_around_pair pair,
				       s32 word, u64 first, s16 half, const char *letters, s64 second, u32 third,
				       unsigned __int128 wide);

/* READ_ONCE() keeps the compiler from a copy of the function for a constant. */
static const char *text = "text";
static unsigned int seed;
module_param(seed, uint, 0644);
static unsigned int calls;
module_param(calls, uint, 0444);

/* Called directly only: on x86 it begins without endbr64. */
static noinline unsigned long klp_around_plain(unsigned long value)
{
	calls++;
	return value * 3 + READ_ONCE(seed);
}

noinline struct klp_around_quad klp_around_many(struct klp_around_quad quad, u8 byte, bool flag,
						struct klp_around_pair pair, s32 word, u64 first, s16 half,
						const char *letters, s64 second, u32 third, unsigned __int128 wide)
{
	struct klp_around_quad result = {
		.a = quad.a + 3 * quad.b + 5 * quad.c + 7 * quad.d,
		.b = byte + 3 * flag + 5 * pair.low + 7 * pair.high,
		.c = 1000 + word + 3 * first + half + 5 * letters[0] + 7 * second + 11 * third,
		.d = (u64)wide + 3 * (u64)(wide >> 64),
	};

	calls++;
	return result;
}

static int klp_around_show(struct seq_file *m, void *v)
{
	u64 value = READ_ONCE(seed);
	struct klp_around_quad quad = { value, value + 1, value + 2, value + 3 };
	struct klp_around_pair pair = { value + 4, value + 5 };
	unsigned __int128 wide = (unsigned __int128)(value + 6) << 64 | (value + 7);
	struct klp_around_quad result;

	result = klp_around_many(quad, value + 8, value & 1, pair, -(s32)value, value + 9, -(s16)value - 1, READ_ONCE(text),
				 -(s64)value - 2, value + 10, wide);
	seq_printf(m, "%llu %llu %llu %llu %lu\n", result.a, result.b, result.c, result.d, klp_around_plain(value));
	return 0;
}

static int __init klp_around_init(void)
{
	return proc_create_single("klp_around", 0, NULL, klp_around_show) ? 0 : -ENOMEM;
}

static void __exit klp_around_exit(void)
{
	remove_proc_entry("klp_around", NULL);
}

module_init(klp_around_init);
module_exit(klp_around_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Test: functions whose originals are called");
