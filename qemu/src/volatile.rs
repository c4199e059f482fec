// SPDX-License-Identifier: GPL-2.0-or-later
//! Disk with a volatile write cache, for power cuts. What the guest flushed is on the medium. Of what it wrote since, a
//! power cut keeps some blocks and loses the others, by a draw: a real disk writes its cache in any order.
//!
//! # Invariants
//! - A read returns the last write, also of the cache.
//! - After [`Disk::cut`], the content of each block is that of the last flush, or of one write after it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use klp_base::lots::Lots;

/// Size of a block, in bytes: the smallest unit that a power cut keeps or loses.
const BLOCK: usize = 512;

/// Content of a block.
type Block = Arc<[u8; BLOCK]>;

/// The disk: an image that stays unchanged, and the guest's writes in memory.
pub(crate) struct Disk {
    image: File,
    size: u64,
    /// Blocks that differ from the image, by number: what a read returns.
    current: HashMap<u64, Block>,
    /// Blocks on the medium that differ from the image.
    medium: HashMap<u64, Block>,
    /// Blocks written since the last flush, in order.
    cache: Vec<(u64, Block)>,
}

impl Disk {
    /// Disk with the content of a raw image, whose size is a multiple of the block size.
    pub(crate) fn new(image: File) -> io::Result<Self> {
        let size = image.metadata()?.len();
        if !size.is_multiple_of(BLOCK as u64) {
            return Err(io::Error::other(format!("{size} bytes are not a number of {BLOCK}-byte blocks")));
        }
        let empty = HashMap::new;
        Ok(Self { image, size, current: empty(), medium: empty(), cache: Vec::new() })
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.image.read_exact_at(into, offset)?;
        for (number, piece) in blocks(offset, into.len())?.zip(into.chunks_mut(BLOCK)) {
            if let Some(block) = self.current.get(&number) {
                piece.copy_from_slice(block.as_slice());
            }
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64).filter(|&end| end <= self.size);
        end.ok_or_else(|| io::Error::other("a write behind the end of the disk"))?;
        for (number, piece) in blocks(offset, bytes.len())?.zip(bytes.chunks(BLOCK)) {
            let block: [u8; BLOCK] = piece.try_into().map_err(io::Error::other)?;
            let block = Arc::new(block);
            self.current.insert(number, Arc::clone(&block));
            self.cache.push((number, block));
        }
        Ok(())
    }

    /// Writes the cache to the medium.
    pub(crate) fn flush(&mut self) {
        self.medium.extend(self.cache.drain(..));
    }

    /// Cuts the power: each block of the cache is kept or lost. Returns the number of lost blocks.
    pub(crate) fn cut(&mut self, lots: &mut Lots) -> usize {
        let written = self.cache.len();
        self.cache.retain(|_| lots.below(2) == 0);
        let lost = written - self.cache.len();
        self.flush();
        self.current = self.medium.clone();
        lost
    }
}

/// Numbers of the blocks of a request. QEMU aligns requests to blocks.
fn blocks(offset: u64, length: usize) -> io::Result<impl Iterator<Item = u64>> {
    let block = BLOCK as u64;
    if !offset.is_multiple_of(block) || !(length as u64).is_multiple_of(block) {
        return Err(io::Error::other(format!("request of {length} bytes at {offset}: not whole blocks")));
    }
    Ok(offset / block..(offset + length as u64) / block)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> Disk {
        let image = tempfile::tempfile().unwrap();
        image.write_all_at(&[1; 16 * BLOCK], 0).unwrap();
        Disk::new(image).unwrap()
    }

    fn content(disk: &Disk) -> Vec<u8> {
        let mut bytes = vec![0; 16 * BLOCK];
        disk.read(0, &mut bytes).unwrap();
        bytes.chunks(BLOCK).map(|block| block[0]).collect()
    }

    #[test]
    fn a_cut_keeps_what_was_flushed_and_loses_some_of_the_rest() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let mut disk = disk();
            disk.write(0, &[2; 4 * BLOCK]).unwrap();
            disk.flush();
            disk.write(2 * BLOCK as u64, &[3; 4 * BLOCK]).unwrap();
            disk.write(5 * BLOCK as u64, &[4; BLOCK]).unwrap();
            assert_eq!(content(&disk)[..7], [2, 2, 3, 3, 3, 4, 1]);
            let lost = disk.cut(&mut Lots::new(seed));
            let after = content(&disk);
            assert_eq!((&after[..2], after[6]), (&[2, 2][..], 1));
            assert!([2, 3].contains(&after[2]) && [2, 3].contains(&after[3]), "{after:?}");
            assert!([1, 3].contains(&after[4]) && [1, 3, 4].contains(&after[5]), "{after:?}");
            assert!(lost <= 5);
            // What is there after the cut stays there.
            assert_eq!(disk.cut(&mut Lots::new(0)), 0);
            assert_eq!(content(&disk), after);
            seen.insert((after, lost));
        }
        assert!(seen.len() > 10, "the seed decides: {}", seen.len());
    }

    #[test]
    fn requests_that_are_no_blocks_or_behind_the_end_are_refused() {
        let mut disk = disk();
        assert!(disk.write(1, &[0; BLOCK]).is_err() && disk.write(0, &[0; 7]).is_err());
        assert!(disk.write(16 * BLOCK as u64, &[0; BLOCK]).is_err());
        assert!(disk.read(16 * BLOCK as u64, &mut [0; BLOCK]).is_err());
        assert_eq!(content(&disk), [1; 16]);
    }
}
