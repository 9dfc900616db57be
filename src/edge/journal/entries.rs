//! All entries as of the last commit: what sled holds, under what was written ahead since it last got
//! everything.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use sled::IVec;

use super::entry::{META, Writes, decode};
use super::error::Error;
use super::store::{Entry, Store, Write};

#[derive(Debug)]
pub struct Entries {
    pub store: Arc<Store>,
    /// The new value, or that there is none.
    ahead: BTreeMap<IVec, Option<IVec>>,
}

impl Entries {
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, ahead: BTreeMap::new() }
    }

    /// What was written ahead.
    pub fn follow(&mut self, writes: Writes) {
        self.ahead.extend(writes);
    }

    /// What the store has not got, but the meta.
    ///
    /// # Errors
    /// Not readable.
    pub fn ahead(&self) -> Result<Vec<Write>, Error> {
        let mut writes = Vec::new();
        for (key, value) in self.ahead.iter().filter(|(key, _)| &***key != META) {
            // Most of what was removed came and went without the store.
            if value.is_some() || self.store.contains(key)? {
                writes.push((key.clone(), value.clone()));
            }
        }
        Ok(writes)
    }

    /// The store has got everything.
    pub fn forget_ahead(&mut self) {
        self.ahead.clear();
    }

    /// # Errors
    /// Not readable or damaged.
    pub fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, Error> {
        match self.ahead.get(key) {
            Some(value) => value.as_ref().map(|value| decode(key, value)).transpose(),
            None => self.store.get(key),
        }
    }

    /// Every entry whose key begins with `prefix`, in order.
    pub fn scan<'it>(&'it self, prefix: &'it [u8]) -> impl Iterator<Item = Result<Entry, Error>> {
        self.range(Bound::Included(prefix)).take_while(move |entry| {
            entry.as_ref().map_or(true, |(key, _)| key.starts_with(prefix))
        })
    }

    /// Every entry from a key on, in order.
    pub fn range(&self, from: Bound<&[u8]>) -> impl Iterator<Item = Result<Entry, Error>> {
        let bounds = (from, Bound::Unbounded);
        let (store, ahead) = (self.store.range(bounds), self.ahead.range::<[u8], _>(bounds));
        Merged { store: store.peekable(), ahead: ahead.peekable(), earlier: Ordering::Less }
    }

    /// Every entry between two keys, from the last one on.
    pub fn backward(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> impl Iterator<Item = Result<Entry, Error>> {
        let store = self.store.range(bounds).rev();
        let ahead = self.ahead.range::<[u8], _>(bounds).rev();
        Merged { store: store.peekable(), ahead: ahead.peekable(), earlier: Ordering::Greater }
    }
}

/// Two sorted sequences as one.
struct Merged<S: Iterator, A: Iterator> {
    store: Peekable<S>,
    ahead: Peekable<A>,
    /// How a key that comes first compares to the other.
    earlier: Ordering,
}

impl<'it, S, A> Iterator for Merged<S, A>
where
    S: Iterator<Item = Result<Entry, Error>>,
    A: Iterator<Item = (&'it IVec, &'it Option<IVec>)>,
{
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.store.peek(), self.ahead.peek()) {
                (Some(Ok((stored, _))), Some((key, _))) => stored.cmp(key),
                (Some(_), _) => self.earlier,
                (None, _) => self.earlier.reverse(),
            };
            if order == self.earlier {
                return self.store.next();
            }
            if order == Ordering::Equal {
                self.store.next();
            }
            if let (key, Some(value)) = self.ahead.next()? {
                return Some(Ok((key.clone(), value.clone())));
            }
        }
    }
}
