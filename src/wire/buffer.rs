//! [`Buffer`]: bytes read and not yet taken; and [`BufferPool`]: where its memory comes from.
//!
//! A connection that waits holds no memory: it takes a block when bytes arrive and gives it back when it is idle.

use std::cell::RefCell;

/// Bytes read from a socket and not yet taken.
#[derive(Debug, Default)]
pub struct Buffer {
    block: Vec<u8>,
    start: usize,
    end: usize,
}

/// Blocks of two sizes, kept for the next connection of the same worker.
#[derive(Debug, Default)]
pub struct BufferPool {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
}

/// Holds nearly every head, and small bodies with it.
pub const SMALL: usize = 8 * 1024;
/// For bodies in transit.
pub const LARGE: usize = 64 * 1024;
/// Blocks of each size kept for reuse, at most.
const KEPT: usize = 64;

impl BufferPool {
    fn small(&self) -> Vec<u8> {
        self.small.borrow_mut().pop().unwrap_or_else(|| vec![0; SMALL])
    }

    fn large(&self) -> Vec<u8> {
        self.large.borrow_mut().pop().unwrap_or_else(|| vec![0; LARGE])
    }

    fn take_back(&self, block: Vec<u8>) {
        let shelf = match block.len() {
            SMALL => &self.small,
            LARGE => &self.large,
            _ => return,
        };
        let mut shelf = shelf.borrow_mut();
        if shelf.len() < KEPT {
            shelf.push(block);
        }
    }
}

impl Buffer {
    /// What was read and not yet taken.
    pub fn filled(&self) -> &[u8] {
        &self.block[self.start..self.end]
    }

    /// Nothing waits here.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// It has a block, with bytes in it or without.
    pub(super) fn has_memory(&self) -> bool {
        !self.block.is_empty()
    }

    /// Takes `count` bytes from the front.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start);
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Room to read into; makes sure there is some, up to `limit` bytes held in all. Empty only when the limit is reached.
    pub fn room(&mut self, pool: &BufferPool, limit: usize) -> &mut [u8] {
        if self.block.is_empty() {
            self.block = pool.small();
        }
        if self.end == self.block.len() {
            if self.start > 0 {
                self.block.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else if self.block.len() < limit {
                self.grow(pool, limit);
            }
        }
        &mut self.block[self.end..]
    }

    /// Notes that `count` bytes were read into the room.
    pub fn read(&mut self, count: usize) {
        self.end = (self.end + count).min(self.block.len());
    }

    /// Makes room for a body in transit.
    pub fn enlarge(&mut self, pool: &BufferPool) {
        if self.block.len() < LARGE {
            self.move_to(pool, pool.large());
        }
    }

    /// Gives the memory back. Only an empty buffer may; one that holds bytes keeps them.
    pub fn release(&mut self, pool: &BufferPool) {
        if self.is_empty() && !self.block.is_empty() {
            pool.take_back(std::mem::take(&mut self.block));
        }
    }

    fn grow(&mut self, pool: &BufferPool, limit: usize) {
        let wanted = (self.block.len() * 2).min(limit);
        let block = if wanted == LARGE { pool.large() } else { vec![0; wanted] };
        self.move_to(pool, block);
    }

    fn move_to(&mut self, pool: &BufferPool, mut block: Vec<u8>) {
        let held = self.end - self.start;
        block[..held].copy_from_slice(&self.block[self.start..self.end]);
        (self.start, self.end) = (0, held);
        pool.take_back(std::mem::replace(&mut self.block, block));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_growth_compaction_and_release() {
        let pool = BufferPool::default();
        let mut buffer = Buffer::default();
        let text: Vec<u8> = (0..LARGE).map(|i| (i % 251) as u8).collect();
        let mut sent = 0;
        while sent < text.len() {
            let room = buffer.room(&pool, LARGE);
            let count = room.len().min(1000).min(text.len() - sent);
            room[..count].copy_from_slice(&text[sent..sent + count]);
            buffer.read(count);
            sent += count;
        }
        assert_eq!(buffer.filled(), text);
        assert!(buffer.room(&pool, LARGE).is_empty(), "the limit holds");
        buffer.consume(LARGE - 1);
        buffer.release(&pool);
        assert_eq!(buffer.filled(), &text[LARGE - 1..]);
        assert!(!buffer.room(&pool, LARGE).is_empty());
        buffer.consume(1);
        buffer.release(&pool);
        assert!(pool.large.borrow().len() == 1 && buffer.block.is_empty());
    }
}
