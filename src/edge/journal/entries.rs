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

/// To see that the store need not get something takes so much less time than to give it.
const LOOKS_PER_WRITE: usize = 16;

#[derive(Debug)]
pub struct Entries {
    pub store: Arc<Store>,
    ahead: BTreeMap<Key, Ahead>,
}

/// Keys in the order of their bytes, mostly told by one comparison of numbers: to find its place is
/// what an entry costs most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// The first bytes, filled up with zeroes.
    start: u128,
    bytes: IVec,
}

#[derive(Debug)]
struct Ahead {
    /// The new value, or that there is none.
    value: Option<IVec>,
    /// From the log before the current one.
    is_old: bool,
}

impl Entries {
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, ahead: BTreeMap::new() }
    }

    /// What was written ahead.
    pub fn follow(&mut self, writes: Writes) {
        let ahead = |(key, value)| (Key::from(key), Ahead { value, is_old: false });
        self.ahead.extend(writes.into_iter().map(ahead));
    }

    /// What the store has not got, but the meta.
    ///
    /// # Errors
    /// Not readable.
    pub fn ahead(&self) -> Result<Vec<Write>, Error> {
        let ahead = self.ahead.iter();
        ahead.filter_map(|(key, it)| self.lacking(&key.bytes, it).transpose()).collect()
    }

    /// The store has got everything.
    pub fn forget_ahead(&mut self) {
        self.ahead.clear();
    }

    /// What was written ahead until now is in the log before the current one.
    pub fn switch(&mut self) {
        self.ahead.values_mut().for_each(|ahead| ahead.is_old = true);
    }

    /// At most `limit` writes behind the key `after` that are in the log before and that the store has
    /// not got, but the meta; and how far that is, if there may be more.
    ///
    /// # Errors
    /// Not readable.
    pub fn old(&self, after: &[u8], limit: usize) -> Result<(Vec<Write>, Option<IVec>), Error> {
        let mut writes = Vec::new();
        let behind = (Bound::Excluded(Key::from(after)), Bound::Unbounded);
        let old = self.ahead.range(behind).filter(|(_, ahead)| ahead.is_old);
        for (looked_at, (Key { bytes, .. }, ahead)) in (1..).zip(old) {
            writes.extend(self.lacking(bytes, ahead)?);
            if writes.len() == limit || looked_at == LOOKS_PER_WRITE * limit {
                return Ok((writes, Some(bytes.clone())));
            }
        }
        Ok((writes, None))
    }

    /// The store has got what is in the log before.
    pub fn forget_old(&mut self) {
        self.ahead.retain(|_, ahead| !ahead.is_old);
    }

    /// # Errors
    /// Not readable or damaged.
    pub fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, Error> {
        match self.ahead.get(&Key::from(key)) {
            Some(Ahead { value, .. }) => value.as_ref().map(|it| decode(key, it)).transpose(),
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
        let ahead = self.ahead.range((from.map(Key::from), Bound::Unbounded));
        Merged { store: self.store.range(from).peekable(), ahead: ahead.peekable() }
    }

    fn lacking(&self, key: &IVec, ahead: &Ahead) -> Result<Option<Write>, Error> {
        let value = &ahead.value;
        // Most of what was removed came and went without the store.
        let lacks = &**key != META && (value.is_some() || self.store.contains(key)?);
        Ok(lacks.then(|| (key.clone(), value.clone())))
    }
}

impl<Bytes: Into<IVec>> From<Bytes> for Key {
    fn from(bytes: Bytes) -> Self {
        let bytes = bytes.into();
        let mut start = [0; 16];
        let length = bytes.len().min(start.len());
        start[..length].copy_from_slice(&bytes[..length]);
        Self { start: u128::from_be_bytes(start), bytes }
    }
}

/// Two sorted sequences as one.
struct Merged<S: Iterator, A: Iterator> {
    store: Peekable<S>,
    ahead: Peekable<A>,
}

impl<'it, S, A> Iterator for Merged<S, A>
where
    S: Iterator<Item = Result<Entry, Error>>,
    A: Iterator<Item = (&'it Key, &'it Ahead)>,
{
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.store.peek(), self.ahead.peek()) {
                (Some(Ok((stored, _))), Some((key, _))) => stored.cmp(&key.bytes),
                (Some(_), _) => Ordering::Less,
                (None, _) => Ordering::Greater,
            };
            if order == Ordering::Less {
                return self.store.next();
            }
            if order == Ordering::Equal {
                self.store.next();
            }
            if let (Key { bytes, .. }, Ahead { value: Some(value), .. }) = self.ahead.next()? {
                return Some(Ok((bytes.clone(), value.clone())));
            }
        }
    }
}
