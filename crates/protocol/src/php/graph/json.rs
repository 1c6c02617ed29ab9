//! Writing a graph as PHP's `json_encode()` does.

use super::{Content, Graph, Holder, Id, Object};
use crate::php::KeyRef;
use crate::php::json::string;
use crate::php::serialize::{float, print};

/// How many arrays deep PHP's `json_encode()` goes, unless told otherwise.
const MAX_DEPTH: usize = 512;

/// An array or object that is being written.
struct Writing {
    holder: Holder,
    /// The place of its next member.
    next: usize,
    is_list: bool,
    is_empty: bool,
}

impl Graph<'_> {
    /// What PHP's `json_encode($value, JSON_UNESCAPED_UNICODE)` says of a value in a process that knows
    /// none of its classes: an object has the name of its class, and the properties that are public.
    ///
    /// None where PHP answers `false`, and where more than `limit` bytes would come of it, as what
    /// stands in several places is written in each.
    pub(in crate::php) fn to_json(&self, root: Id, limit: usize) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut writing = Vec::new();
        self.json_of_node(root, &mut writing, &mut out)?;
        while let Some(top) = writing.last_mut() {
            let Some((name, member)) = self.member(top.holder, top.next) else {
                out.push(if top.is_list { b']' } else { b'}' });
                writing.pop();
                continue;
            };
            top.next += 1;
            if !is_public(top.holder, name) {
                continue;
            }
            if !std::mem::take(&mut top.is_empty) {
                out.push(b',');
            }
            if !top.is_list {
                match name {
                    KeyRef::Int(n) => print(&mut out, format_args!("\"{n}\"")),
                    KeyRef::String(bytes) => string(bytes, &mut out)?,
                }
                out.push(b':');
            }
            self.json_of_node(member, &mut writing, &mut out)?;
            if out.len() > limit {
                return None;
            }
        }
        Some(out)
    }

    /// Writes a node, but for its members: what may have any is put onto `writing`.
    fn json_of_node(&self, id: Id, writing: &mut Vec<Writing>, out: &mut Vec<u8>) -> Option<()> {
        match self.get(id).content {
            Content::Null => out.extend_from_slice(b"null"),
            Content::Bool(b) => print(out, format_args!("{b}")),
            Content::Int(n) => print(out, format_args!("{n}")),
            Content::Float(x) if x.is_finite() => float(x, b'e', out),
            Content::Float(_) => return None,
            Content::String(bytes) => string(bytes, out)?,
            Content::Array(_) | Content::Object(_) if writing.len() == MAX_DEPTH => return None,
            Content::Array(array) => {
                let is_list = self.elements(array).keys().zip(0..).all(|(key, n)| *key == KeyRef::Int(n));
                out.push(if is_list { b'[' } else { b'{' });
                writing.push(Writing { holder: Holder::Array(array), next: 0, is_list, is_empty: true });
            }
            Content::Object(object) => {
                let class = match &self.objects[object as usize] {
                    Object::Properties { class, .. } | Object::Custom { class, .. } => class,
                    // Without its class PHP reads none.
                    Object::Case(_) => return None,
                };
                out.extend_from_slice(b"{\"__PHP_Incomplete_Class_Name\":");
                string(class, out)?;
                let holder = Holder::Object(object);
                writing.push(Writing { holder, next: 0, is_list: false, is_empty: false });
            }
        }
        Some(())
    }
}

/// The names of properties that are not public begin with a zero byte.
fn is_public(holder: Holder, name: KeyRef<'_>) -> bool {
    !matches!((holder, name), (Holder::Object(_), KeyRef::String([0, ..])))
}
