//! An allocator that counts what is live, by the daemon that has allocated it and by size.
//!
//! A thread says for whom it is counted ([`count_for`]). What one thread frees that another has allocated is taken
//! from the first one's count: the daemons hand nothing over to each other but bytes in sockets.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering};

/// Sizes up to this many bytes are counted one by one, in steps of 8; longer ones together.
const LONGEST: usize = 4096;
const SIZES: usize = LONGEST / 8 + 2;

/// For whom a thread works.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner {
    /// The gateway.
    Gateway,
    /// The other daemons: the worker, and the register, which has nothing of a client. A thread that says nothing
    /// belongs to them.
    Others,
    /// The test itself.
    Clients,
}

static LIVE: [[AtomicI64; SIZES]; 3] = [const { [const { AtomicI64::new(0) }; SIZES] }; 3];
static LONG_BYTES: [AtomicI64; 3] = [const { AtomicI64::new(0) }; 3];
static MOST_LONG_BYTES: [AtomicI64; 3] = [const { AtomicI64::new(0) }; 3];

thread_local! {
    static OWNER: Cell<Owner> = const { Cell::new(Owner::Others) };
}

/// Counts the allocations of this thread for `owner` from now on.
pub(crate) fn count_for(owner: Owner) {
    OWNER.set(owner);
}

/// The allocator.
pub(crate) struct Counting;

fn note(layout: Layout, change: i64) {
    let Ok(owner) = OWNER.try_with(Cell::get) else { return };
    // An allocator puts an aligned block where blocks of a multiple of that are.
    let bytes = layout.pad_to_align().size();
    let size = bytes.div_ceil(8).min(SIZES - 1);
    LIVE[owner as usize][size].fetch_add(change, Ordering::Relaxed);
    if size == SIZES - 1 {
        let change = change * bytes as i64;
        let now = LONG_BYTES[owner as usize].fetch_add(change, Ordering::Relaxed) + change;
        MOST_LONG_BYTES[owner as usize].fetch_max(now, Ordering::Relaxed);
    }
}

#[expect(unsafe_code, reason = "an allocator is unsafe; this one passes everything on")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout, 1);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(layout, -1);
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(layout, -1);
        // SAFETY: the caller's: the size does not overflow with this alignment.
        note(unsafe { Layout::from_size_align_unchecked(size, layout.align()) }, 1);
        // SAFETY: the caller's.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Returns by how many bytes the long blocks of an owner have become more at most while this ran.
pub(crate) fn most_long_bytes(owner: Owner, run: impl FnOnce()) -> i64 {
    let before = LONG_BYTES[owner as usize].load(Ordering::Relaxed);
    MOST_LONG_BYTES[owner as usize].store(before, Ordering::Relaxed);
    run();
    MOST_LONG_BYTES[owner as usize].load(Ordering::Relaxed) - before
}

/// What is live.
pub(crate) struct Live {
    /// How many blocks of each size.
    blocks: Vec<i64>,
    long_bytes: i64,
}

impl Live {
    /// What is live of an owner now.
    pub(crate) fn of(owner: Owner) -> Self {
        Self {
            blocks: LIVE[owner as usize].iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            long_bytes: LONG_BYTES[owner as usize].load(Ordering::Relaxed),
        }
    }

    /// What is live more than before.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            blocks: self.blocks.iter().zip(&before.blocks).map(|(now, before)| now - before).collect(),
            long_bytes: self.long_bytes - before.long_bytes,
        }
    }

    /// All bytes.
    pub(crate) fn bytes(&self) -> i64 {
        let short: i64 = (0..).zip(&self.blocks[..SIZES - 1]).map(|(size, blocks)| size * 8 * blocks).sum();
        short + self.long_bytes
    }

    /// A line for each size of which there are some for each of so many clients.
    pub(crate) fn table(&self, clients: usize) -> String {
        let mut table = String::new();
        for (size, blocks) in (0..).zip(&self.blocks[..SIZES - 1]).filter(|(_, blocks)| **blocks != 0) {
            let each = *blocks as f64 / clients as f64;
            let _ = writeln!(
                table,
                "{:8} bytes {each:8.3} times {:8.1} bytes",
                size * 8,
                each * f64::from(size * 8)
            );
        }
        let _ = writeln!(table, "{:>8} {:30.1} bytes", "longer", self.long_bytes as f64 / clients as f64);
        let _ = writeln!(table, "{:>8} {:30.1} bytes", "all", self.bytes() as f64 / clients as f64);
        table
    }
}
