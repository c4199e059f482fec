// SPDX-License-Identifier: GPL-2.0-or-later
//! Pseudo-random draws by a seed.

/// Simple pseudo-random generator (splitmix64).
#[derive(Clone, Debug)]
pub struct Lots(u64);

impl Lots {
    /// The same seed gives the same draw.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`; 0 if `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let drawn = (mixed ^ (mixed >> 31)) % (end.max(1) as u64);
        // The value is below a `usize`.
        usize::try_from(drawn).unwrap_or(0)
    }

    /// Removes up to `count` random elements from `from`.
    pub fn take<T>(&mut self, from: &mut Vec<T>, count: usize) -> Vec<T> {
        let count = count.min(from.len());
        (0..count).map(|_| from.swap_remove(self.below(from.len()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_gives_the_same_draw_without_duplicates() {
        let draw = |seed| Lots::new(seed).take(&mut (0..1000).collect::<Vec<_>>(), 100);
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let drawn: std::collections::BTreeSet<_> = draw(7).into_iter().collect();
        assert_eq!(drawn.len(), 100);
        assert_eq!(Lots::new(1).take(&mut vec![1, 2], 5).len(), 2);
    }
}
