//! Pure: what a client has sent, as far as it was read and not received.

use super::frames::{Reader, Said, Violation};
use std::collections::VecDeque;

/// What the client sent.
pub(super) struct Input {
    pub(super) reader: Reader,
    /// Read and not received yet.
    pub(super) said: VecDeque<Said>,
    /// What comes after that.
    pub(super) end: Option<End>,
}

/// Why nothing more is received.
#[derive(Clone, Copy)]
pub(super) enum End {
    /// The client said so, with this code.
    Farewell(Option<u16>),
    Violation(Violation),
}

impl Input {
    /// Reads on, or begins to.
    pub(super) fn read(input: &mut Option<Box<Input>>, message_bytes_max: usize, bytes: &[u8]) {
        let fresh = || Box::new(Input { reader: Reader::new(message_bytes_max), said: VecDeque::new(), end: None });
        let Input { reader, said, end } = &mut **input.get_or_insert_with(fresh);
        if let Err(violation) = reader.read(bytes, said) {
            *end = Some(End::Violation(violation));
        }
    }

    /// Whether what the client says last has come; forgets what it said before.
    pub(super) fn is_over(&mut self) -> bool {
        let is_over = self.end.is_some() || self.said.iter().any(|said| matches!(said, Said::Close(_)));
        self.said.clear();
        is_over
    }
}
