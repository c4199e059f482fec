// SPDX-License-Identifier: GPL-2.0-only
/* Rate limits: the C half of klp::core::ratelimit. */
#include <linux/ratelimit.h>
#include <linux/spinlock.h>

static DEFINE_RAW_SPINLOCK(starting);

/* The first call of a place makes its state; in an interrupt of another first call it allows nothing. */
bool klp_shim_ratelimit_allows(struct ratelimit_state *state, bool *ready, const char *place)
{
	unsigned long flags;

	if (!smp_load_acquire(ready)) {
		if (!raw_spin_trylock_irqsave(&starting, flags))
			return false;
		if (!*ready)
			ratelimit_state_init(state, DEFAULT_RATELIMIT_INTERVAL, DEFAULT_RATELIMIT_BURST);
		smp_store_release(ready, true);
		raw_spin_unlock_irqrestore(&starting, flags);
	}
	return ___ratelimit(state, place);
}
