//! Whoever keeps a copy of a request until all that came of it is dealt with gets to know when that is. A [`Receipt`] travels with the
//! claims for the request's records, through splits and merges; when the last of them has ended, it is handed in at its [`Desk`].

use crate::sys::inbox::Sender;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// Where receipts are handed in. Its owner looks when the bell rings; what lies there is bounded by what the owner has given out.
#[derive(Debug)]
pub struct Desk {
    handed_in: Mutex<Vec<u64>>,
    bell: Sender<()>,
}

impl Desk {
    /// An empty desk with a bell.
    pub fn new(bell: Sender<()>) -> Arc<Desk> {
        Arc::new(Desk { handed_in: Mutex::default(), bell })
    }

    /// A receipt for what its owner keeps at `place`.
    pub fn receipt(self: &Arc<Self>, place: u64) -> Arc<Receipt> {
        Arc::new(Receipt { place, is_void: AtomicBool::new(false), desk: Arc::clone(self) })
    }

    /// The places of all receipts that were handed in since the last look.
    pub fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.handed_in.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The word that the copy at one place is still needed.
#[derive(Debug)]
pub struct Receipt {
    place: u64,
    is_void: AtomicBool,
    desk: Arc<Desk>,
}

impl Receipt {
    /// Something that came of the request was not dealt with: the copy stays, for another try or another run.
    pub fn void(&self) {
        self.is_void.store(true, Relaxed);
    }

    /// Where its owner keeps the copy.
    pub fn place(&self) -> u64 {
        self.place
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.is_void.load(Relaxed) {
            self.desk.handed_in.lock().unwrap_or_else(PoisonError::into_inner).push(self.place);
            let _ = self.desk.bell.try_send(()); // it rings already, or the owner has gone
        }
    }
}

/// The receipts of one claim; without a journal there are none, and nothing is allocated.
#[derive(Clone, Debug, Default)]
pub struct Receipts(Vec<Arc<Receipt>>);

impl Receipts {
    /// Takes one more. Claims of one request come one after the other, so a look at the last one keeps most of them single.
    pub fn add(&mut self, receipt: &Arc<Receipt>) {
        if self.0.last().is_none_or(|last| !Arc::ptr_eq(last, receipt)) {
            self.0.push(Arc::clone(receipt));
        }
    }

    /// Takes those of `other`, too.
    pub fn merge(&mut self, other: Receipts) {
        if self.0.is_empty() {
            self.0 = other.0;
        } else {
            other.0.iter().for_each(|receipt| self.add(receipt));
        }
    }

    /// None of the copies is to be given up.
    pub fn void(&self) {
        self.0.iter().for_each(|receipt| receipt.void());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::inbox::channel;

    #[test]
    fn a_receipt_is_handed_in_when_the_last_who_holds_it_lets_go() {
        let (bell, rings) = channel(1);
        let desk = Desk::new(bell);
        let (first, second) = (desk.receipt(1), desk.receipt(2));
        let mut receipts = Receipts::default();
        receipts.add(&first);
        let copy = receipts.clone();
        receipts.merge(copy.clone());
        receipts.add(&second);
        assert_eq!(receipts.0.len(), 2, "the same one is not taken twice in a row");
        drop((first, second, copy));
        assert!(desk.take().is_empty());
        drop(receipts);
        let mut places = desk.take();
        places.sort_unstable();
        assert_eq!((places, rings.len()), (vec![1, 2], 1));
    }

    #[test]
    fn a_void_receipt_is_not_handed_in() {
        let desk = Desk::new(channel(1).0);
        let mut receipts = Receipts::default();
        receipts.add(&desk.receipt(1));
        receipts.void();
        drop(receipts);
        assert!(desk.take().is_empty());
    }
}
