//! A serialized value with everything that PHP's `serialize()` writes: objects and
//! references too.
//!
//! A [`Value`](super::Value) is a tree of plain data. Here a value may stand in several
//! places, as it does behind `R:` (one variable under several keys) and `r:` (one object in
//! several places); both name it by its number in the serialized string. Numbers are
//! resolved when a string is read and made anew when one is written, so parts of two
//! strings may be put together in between. Objects are not looked into: their class, the
//! names of their properties and what a class of its own has written pass as they are.
//!
//! Nothing here calls itself: the depth of the input costs heap, and is bounded.

mod json;
mod write;

use foldhash::fast::RandomState;
use indexmap::IndexMap;

use super::KeyRef;
use super::unserialize::{Error, Reader};

/// How many non-empty arrays and objects may stand inside each other: PHP's own limit
/// (`unserialize_max_depth`).
pub(super) const MAX_DEPTH: usize = 4096;

/// The values of one or several serialized strings.
#[derive(Debug, Default)]
pub(super) struct Graph<'a> {
    nodes: Vec<Node<'a>>,
    arrays: Vec<Elements<'a>>,
    objects: Vec<Object<'a>>,
}

/// A node of a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(u32);

/// An array of a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ArrayId(u32);

type Elements<'a> = IndexMap<KeyRef<'a>, Id, RandomState>;

#[derive(Clone, Copy, Debug)]
struct Node<'a> {
    content: Content<'a>,
    /// PHP's reference: whoever holds this node holds the same variable. Where it is not
    /// set, several holders have a copy each.
    is_reference: bool,
}

#[derive(Clone, Copy, Debug)]
enum Content<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(&'a [u8]),
    Array(ArrayId),
    /// Two nodes with the same object are two variables that hold it.
    Object(u32),
}

#[derive(Debug)]
enum Object<'a> {
    /// `O:`. The names of properties are no array keys: `"7"` stays a string.
    Properties { class: &'a [u8], properties: Vec<(KeyRef<'a>, Id)> },
    /// `C:`, whose content only its class can read: all of it, as it was written.
    Custom { class: &'a [u8], bytes: &'a [u8] },
    /// `E:`, a case of an enum, as it was written.
    Case(&'a [u8]),
}

/// An array or object whose members are being read.
struct Open {
    holder: Holder,
    /// Members that are still to come.
    left: usize,
}

#[derive(Clone, Copy)]
enum Holder {
    Array(ArrayId),
    Object(u32),
}

impl<'a> Graph<'a> {
    /// Adds the value that stands at the beginning of a serialized string; bytes after it
    /// are ignored, as PHP does.
    ///
    /// # Errors
    /// If PHP would answer `false`, and for escaped strings (`S:`, which `serialize()` never
    /// writes).
    pub(super) fn read(&mut self, input: &'a [u8]) -> Result<Id, Error> {
        let mut reader = Reader::new(input);
        let first = self.nodes.len();
        let mut open = Vec::new();
        let root = self.value(&mut reader, first, &mut open)?;
        while let Some(Open { holder, left }) = open.last_mut() {
            let holder = *holder;
            let Some(rest) = left.checked_sub(1) else {
                reader.close()?;
                open.pop();
                continue;
            };
            *left = rest;
            let name = reader.name()?;
            let member = self.value(&mut reader, first, &mut open)?;
            match holder {
                Holder::Array(array) => {
                    // The later of two equal keys wins, in the place of the first.
                    self.elements_mut(array).insert(name.canonical(), member);
                }
                Holder::Object(object) => {
                    if let Some(Object::Properties { properties, .. }) = self.objects.get_mut(object as usize)
                    {
                        properties.push((name, member));
                    }
                }
            }
        }
        Ok(root)
    }

    /// Reads one value, but for its members: what has any is put onto `open`. `first` is the
    /// node with number 1, that is, the first one of the same string.
    fn value(&mut self, reader: &mut Reader<'a>, first: usize, open: &mut Vec<Open>) -> Result<Id, Error> {
        let offset = reader.at();
        let content = match reader.byte()? {
            b'N' => {
                reader.expect(b";")?;
                Content::Null
            }
            b'b' => Content::Bool(reader.bool()?),
            b'i' => Content::Int(reader.int()?),
            b'd' => Content::Float(reader.float()?),
            b's' => Content::String(reader.string()?),
            b'a' => {
                let len = reader.open()?;
                let array = ArrayId(self.arrays.len() as u32);
                self.arrays.push(Elements::with_capacity_and_hasher(len, RandomState::default()));
                begin(Holder::Array(array), len, offset, reader, open)?;
                Content::Array(array)
            }
            b'O' => {
                let class = reader.quoted()?;
                let len = reader.open()?;
                let properties = Vec::with_capacity(len);
                let object = self.object(Object::Properties { class, properties });
                begin(Holder::Object(object), len, offset, reader, open)?;
                Content::Object(object)
            }
            b'C' => {
                let class = reader.quoted()?;
                reader.custom()?;
                let bytes = reader.since(offset);
                Content::Object(self.object(Object::Custom { class, bytes }))
            }
            b'E' => {
                reader.string()?;
                let bytes = reader.since(offset);
                Content::Object(self.object(Object::Case(bytes)))
            }
            // The only one that is not numbered itself: it is the other one.
            b'R' => {
                let target = self.numbered(reader, first)?;
                self.nodes[target].is_reference = true;
                return Ok(Id(target as u32));
            }
            b'r' => match self.numbered(reader, first).map(|target| self.nodes[target].content)? {
                object @ Content::Object(_) => object,
                _ => return Err(Error::Malformed { offset }),
            },
            b'S' => return Err(Error::Refused { what: "an escaped string", offset }),
            _ => return Err(Error::Malformed { offset }),
        };
        Ok(self.node(content))
    }

    /// The node that the number after `R` or `r` names.
    fn numbered(&self, reader: &mut Reader<'a>, first: usize) -> Result<usize, Error> {
        let offset = reader.at();
        let number = usize::try_from(reader.int()?).ok().and_then(|number| number.checked_sub(1));
        let node = number.and_then(|number| first.checked_add(number));
        node.filter(|node| *node < self.nodes.len()).ok_or(Error::Malformed { offset })
    }

    fn object(&mut self, object: Object<'a>) -> u32 {
        self.objects.push(object);
        self.objects.len() as u32 - 1
    }

    fn node(&mut self, content: Content<'a>) -> Id {
        self.nodes.push(Node { content, is_reference: false });
        Id(self.nodes.len() as u32 - 1)
    }

    fn get(&self, id: Id) -> Node<'a> {
        self.nodes[id.0 as usize]
    }

    fn elements(&self, array: ArrayId) -> &Elements<'a> {
        &self.arrays[array.0 as usize]
    }

    fn elements_mut(&mut self, array: ArrayId) -> &mut Elements<'a> {
        &mut self.arrays[array.0 as usize]
    }

    /// The array that a node holds, if it does.
    pub(super) fn array(&self, id: Id) -> Option<ArrayId> {
        match self.get(id).content {
            Content::Array(array) => Some(array),
            _ => None,
        }
    }

    /// Whether the node is a variable that others share.
    pub(super) fn is_reference(&self, id: Id) -> bool {
        self.get(id).is_reference
    }

    /// How many elements an array has.
    pub(super) fn len(&self, array: ArrayId) -> usize {
        self.elements(array).len()
    }

    /// The element in a place of an array.
    pub(super) fn element(&self, array: ArrayId, at: usize) -> Option<(KeyRef<'a>, Id)> {
        self.elements(array).get_index(at).map(|(key, id)| (*key, *id))
    }

    /// The element under a key of an array.
    pub(super) fn find(&self, array: ArrayId, key: &KeyRef<'a>) -> Option<Id> {
        self.elements(array).get(key).copied()
    }

    /// Puts a node under a key of an array: in the place of the old one, or at the end.
    pub(super) fn put(&mut self, array: ArrayId, key: KeyRef<'a>, id: Id) {
        self.elements_mut(array).insert(key, id);
    }

    /// An array with the same elements, which is nobody's reference, and the node of it.
    pub(super) fn copy(&mut self, array: ArrayId) -> (ArrayId, Id) {
        let copy = ArrayId(self.arrays.len() as u32);
        self.arrays.push(self.elements(array).clone());
        (copy, self.node(Content::Array(copy)))
    }

    /// How many nodes there are.
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Makes ordinary variables of those references, among the first `among` nodes, that only one
    /// holder below `root` is left of, as PHP does. Otherwise others that hold the same object
    /// would be written as the same variable, and so would the copies of an array with it.
    pub(super) fn release_lone_references(&mut self, root: Id, among: usize) {
        if !self.nodes[..among].iter().any(|node| node.is_reference) {
            return;
        }
        let mut holders = vec![0_u32; self.nodes.len()];
        let mut seen = (vec![false; self.arrays.len()], vec![false; self.objects.len()]);
        let mut left = vec![root];
        while let Some(id) = left.pop() {
            let (holder, seen) = match self.get(id).content {
                Content::Array(array) => (Holder::Array(array), &mut seen.0[array.0 as usize]),
                Content::Object(object) => (Holder::Object(object), &mut seen.1[object as usize]),
                _ => continue,
            };
            if std::mem::replace(seen, true) {
                continue;
            }
            for at in 0.. {
                let Some((_, member)) = self.member(holder, at) else { break };
                holders[member.0 as usize] += 1;
                left.push(member);
            }
        }
        for (node, holders) in self.nodes[..among].iter_mut().zip(holders) {
            node.is_reference &= holders != 1;
        }
    }

    /// The member in a place of an array or object, under its name.
    fn member(&self, holder: Holder, at: usize) -> Option<(KeyRef<'a>, Id)> {
        match holder {
            Holder::Array(array) => self.element(array, at),
            Holder::Object(object) => match &self.objects[object as usize] {
                Object::Properties { properties, .. } => properties.get(at).copied(),
                Object::Custom { .. } | Object::Case(_) => None,
            },
        }
    }

    /// What PHP calls the type of a node, for messages.
    pub(super) fn type_name(&self, id: Id) -> &'static str {
        match self.get(id).content {
            Content::Null => "null",
            Content::Bool(_) => "bool",
            Content::Int(_) => "int",
            Content::Float(_) => "float",
            Content::String(_) => "string",
            Content::Array(_) => "array",
            Content::Object(_) => "object",
        }
    }
}

/// Opens an array or object; one without members ends at once.
fn begin(
    holder: Holder,
    len: usize,
    offset: usize,
    reader: &mut Reader<'_>,
    open: &mut Vec<Open>,
) -> Result<(), Error> {
    if len == 0 {
        return reader.close();
    }
    if open.len() == MAX_DEPTH {
        return Err(Error::TooDeep { limit: MAX_DEPTH, offset });
    }
    open.push(Open { holder, left: len });
    Ok(())
}
