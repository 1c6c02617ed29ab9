//! PHP's array.

use std::fmt;

use foldhash::fast::RandomState;
use indexmap::{IndexMap, map};

use super::{Key, KeyRef, Value};

/// PHP's array: a map that remembers the order in which its keys came.
///
/// Two arrays are equal if they hold the same pairs in the same order, as with PHP's `===`.
#[derive(Clone, Default)]
pub struct Array {
    map: IndexMap<Key, Value, RandomState>,
    /// The greatest integer key there has ever been, removed or not: [`Array::push`] goes on from it.
    last: Option<i64>,
}

impl Array {
    /// An empty array.
    pub fn new() -> Array {
        Array::default()
    }

    /// An empty array with room for `n` elements.
    pub fn with_capacity(n: usize) -> Array {
        Array { map: IndexMap::with_capacity_and_hasher(n, RandomState::default()), last: None }
    }

    /// The values under the keys 0, 1, 2 and so on.
    pub fn list<V: Into<Value>>(values: impl IntoIterator<Item = V>) -> Array {
        (0i64..).zip(values).collect()
    }

    /// The value under a key.
    pub fn get<'k>(&self, key: impl Into<KeyRef<'k>>) -> Option<&Value> {
        self.map.get(&key.into())
    }

    /// The value under a key, to be changed.
    pub fn get_mut<'k>(&mut self, key: impl Into<KeyRef<'k>>) -> Option<&mut Value> {
        self.map.get_mut(&key.into())
    }

    /// Whether there is such a key.
    pub fn contains_key<'k>(&self, key: impl Into<KeyRef<'k>>) -> bool {
        self.map.contains_key(&key.into())
    }

    /// Puts a value under a key, at the end if the key is new and in its old place otherwise. Returns
    /// the old value.
    pub fn insert(&mut self, key: impl Into<Key>, value: impl Into<Value>) -> Option<Value> {
        let key = key.into();
        self.note(&key);
        self.map.insert(key, value.into())
    }

    /// Puts a value at the end, under the integer after the greatest there has been (PHP's `$a[] = …`),
    /// 0 at first.
    ///
    /// Returns false, and does nothing, where that integer does not exist: PHP throws then.
    pub fn push(&mut self, value: impl Into<Value>) -> bool {
        let key = self.next_key();
        key.map(|key| self.insert(key, value)).is_some()
    }

    /// Takes a key out; the others keep their order. Returns its value.
    pub fn remove<'k>(&mut self, key: impl Into<KeyRef<'k>>) -> Option<Value> {
        self.map.shift_remove(&key.into())
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Whether the keys are 0, 1, 2 and so on, in this order (PHP's `array_is_list`). True of an empty
    /// array.
    pub fn is_list(&self) -> bool {
        self.keys().zip(0..).all(|(key, n)| *key == Key::Int(n))
    }

    /// The pairs in order.
    pub fn iter(&self) -> map::Iter<'_, Key, Value> {
        self.map.iter()
    }

    /// The keys in order.
    pub fn keys(&self) -> map::Keys<'_, Key, Value> {
        self.map.keys()
    }

    /// The values in order.
    pub fn values(&self) -> map::Values<'_, Key, Value> {
        self.map.values()
    }

    /// The place of a key, or of the next integer for `None`, made (as null) if it is not there. `None`
    /// if there is no next integer.
    pub(super) fn slot(&mut self, key: Option<Key>) -> Option<&mut Value> {
        let key = key.or_else(|| self.next_key())?;
        self.note(&key);
        Some(self.map.entry(key).or_default())
    }

    fn next_key(&self) -> Option<Key> {
        self.last.map_or(Some(0), |n| n.checked_add(1)).map(Key::Int)
    }

    fn note(&mut self, key: &Key) {
        if let Key::Int(n) = *key {
            self.last = self.last.max(Some(n));
        }
    }
}

impl PartialEq for Array {
    fn eq(&self, other: &Array) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_list() {
            f.debug_list().entries(self.values()).finish()
        } else {
            f.debug_map().entries(self).finish()
        }
    }
}

impl<K: Into<Key>, V: Into<Value>> FromIterator<(K, V)> for Array {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Array {
        let mut array = Array::new();
        array.extend(pairs);
        array
    }
}

impl<K: Into<Key>, V: Into<Value>> Extend<(K, V)> for Array {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, pairs: I) {
        for (key, value) in pairs {
            self.insert(key, value);
        }
    }
}

impl IntoIterator for Array {
    type Item = (Key, Value);
    type IntoIter = map::IntoIter<Key, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.map.into_iter()
    }
}

impl<'a> IntoIterator for &'a Array {
    type Item = (&'a Key, &'a Value);
    type IntoIter = map::Iter<'a, Key, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
