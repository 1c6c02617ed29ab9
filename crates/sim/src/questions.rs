//! Questions that workers have asked: each is answered whole, or fails; none is forgotten.

use std::collections::BTreeMap;

use crate::violation::{Violation, ensure};

/// The questions of a run that are open.
#[derive(Debug, Default)]
pub struct Questions {
    /// For each, how many gateways or shards have to have answered for a whole answer.
    open: BTreeMap<u64, usize>,
    next: u64,
}

impl Questions {
    /// Notes a question whose answer is whole with `parts` parts, and returns its number.
    pub fn asked(&mut self, parts: usize) -> u64 {
        self.next += 1;
        self.open.insert(self.next, parts);
        self.next
    }

    /// Notes that the asker has an answer of `parts` parts.
    ///
    /// # Errors
    /// `answers-are-whole`, or `answered-once`.
    pub fn answered(&mut self, question: u64, parts: usize) -> Result<(), Violation> {
        let wanted = self.settled(question)?;
        ensure(parts == wanted, "answers-are-whole", || {
            format!("question {question}: {parts} of {wanted} parts")
        })
    }

    /// Notes that the asker has an error, or is gone.
    ///
    /// # Errors
    /// `answered-once`.
    pub fn failed(&mut self, question: u64) -> Result<(), Violation> {
        self.settled(question).map(drop)
    }

    fn settled(&mut self, question: u64) -> Result<usize, Violation> {
        let wanted = self.open.remove(&question);
        wanted
            .ok_or_else(|| Violation::new("answered-once", format!("question {question} was settled before")))
    }

    /// Checks that none is open, when all is quiet.
    ///
    /// # Errors
    /// `questions-are-settled`.
    pub fn check_end(&self) -> Result<(), Violation> {
        ensure(self.open.is_empty(), "questions-are-settled", || format!("open: {:?}", self.open))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_is_settled_once_and_whole() {
        let mut questions = Questions::default();
        let [whole, part, failed] = [2, 2, 1].map(|parts| questions.asked(parts));
        assert_eq!(questions.check_end().unwrap_err().invariant, "questions-are-settled");
        questions.answered(whole, 2).unwrap();
        assert_eq!(questions.answered(part, 1).unwrap_err().invariant, "answers-are-whole");
        questions.failed(failed).unwrap();
        assert_eq!(questions.failed(failed).unwrap_err().invariant, "answered-once");
        questions.check_end().unwrap();
    }
}
