//! Writing a graph as PHP's `serialize()` does, with numbers of its own.

use super::super::serialize::{digits, float, int, key, members, open, string};
use super::{Content, Graph, Holder, Id, MAX_DEPTH, Object};
use crate::php::Error;

/// An array or object that is being written, and the place of its next member.
struct Writing {
    holder: Holder,
    next: usize,
}

/// Which values have been written, by the number that each has in the output: 0 where it
/// has not been.
struct Numbers {
    last: u32,
    nodes: Vec<u32>,
    objects: Vec<u32>,
}

impl Graph<'_> {
    /// The value as `serialize()` writes it. What stands in several places is written in
    /// the first, and named by its number in the others.
    ///
    /// # Errors
    /// If that is longer than `limit` bytes, or nested too deep to be read again.
    pub(in crate::php) fn write(&self, root: Id, limit: usize) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        let mut numbers =
            Numbers { last: 0, nodes: vec![0; self.nodes.len()], objects: vec![0; self.objects.len()] };
        let mut writing = Vec::new();
        self.write_node(root, &mut numbers, &mut writing, &mut out);
        while let Some(Writing { holder, next }) = writing.last_mut() {
            let (holder, at) = (*holder, *next);
            *next += 1;
            match self.member(holder, at) {
                Some((name, member)) => {
                    key(name, &mut out);
                    self.write_node(member, &mut numbers, &mut writing, &mut out);
                }
                None => {
                    out.push(b'}');
                    writing.pop();
                }
            }
            if out.len() > limit {
                return Err(Error::TooLong { limit });
            }
            // The innermost array may be an empty one, which does not count.
            if writing.len() > MAX_DEPTH + 1 {
                return Err(Error::TooDeep { limit: MAX_DEPTH, offset: out.len() });
            }
        }
        Ok(out)
    }

    /// Writes a node, but for its members: what may have any is put onto `writing`.
    fn write_node(&self, id: Id, numbers: &mut Numbers, writing: &mut Vec<Writing>, out: &mut Vec<u8>) {
        let node = self.get(id);
        // A reference to an object is as good as the object, as in PHP's php_add_var_hash().
        let number = match node.content {
            Content::Object(object) => Some(&mut numbers.objects[object as usize]),
            _ if node.is_reference => Some(&mut numbers.nodes[id.0 as usize]),
            _ => None,
        };
        match number {
            Some(number @ 0) => {
                numbers.last += 1;
                *number = numbers.last;
            }
            Some(number) if node.is_reference => return name(b'R', *number, out),
            Some(number) => {
                numbers.last += 1;
                return name(b'r', *number, out);
            }
            None => numbers.last += 1,
        }
        match node.content {
            Content::Null => out.extend_from_slice(b"N;"),
            Content::Bool(b) => out.extend_from_slice(if b { b"b:1;" } else { b"b:0;" }),
            Content::Int(n) => int(n, out),
            Content::Float(x) => {
                out.extend_from_slice(b"d:");
                float(x, b'E', out);
                out.push(b';');
            }
            Content::String(bytes) => string(bytes, out),
            Content::Array(array) => {
                open(self.len(array), out);
                writing.push(Writing { holder: Holder::Array(array), next: 0 });
            }
            Content::Object(object) => match &self.objects[object as usize] {
                Object::Properties { class, properties } => {
                    out.extend_from_slice(b"O:");
                    digits(class.len(), out);
                    out.extend_from_slice(b":\"");
                    out.extend_from_slice(class);
                    out.extend_from_slice(b"\":");
                    members(properties.len(), out);
                    writing.push(Writing { holder: Holder::Object(object), next: 0 });
                }
                Object::Custom { bytes, .. } | Object::Case(bytes) => out.extend_from_slice(bytes),
            },
        }
    }
}

fn name(letter: u8, number: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&[letter, b':']);
    digits(number, out);
    out.push(b';');
}
