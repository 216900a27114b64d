//! Pure: what was delivered into a channel since its subscribers were written to last: joined once for each wire, so that each
//! subscriber gets all of it by one write.

use super::broadcast::{Broadcast, Kind, Wire};
use bytes::{Bytes, BytesMut};
use std::sync::{Arc, OnceLock};

/// Pushes in order; at least one.
#[derive(Debug)]
pub struct Batch {
    pushes: Vec<Arc<Broadcast>>,
    has_join_leave: bool,
    joined: [OnceLock<Bytes>; Wire::ALL.len()],
}

impl Batch {
    /// These.
    #[must_use]
    pub fn new(pushes: Vec<Arc<Broadcast>>) -> Batch {
        let has_join_leave = pushes.iter().any(|push| matches!(push.kind, Kind::Join | Kind::Leave));
        Batch { pushes, has_join_leave, joined: Default::default() }
    }

    /// One by one.
    #[must_use]
    pub fn pushes(&self) -> &[Arc<Broadcast>] {
        &self.pushes
    }

    /// Whether some are for those only who asked for join and leave.
    #[must_use]
    pub fn has_join_leave(&self) -> bool {
        self.has_join_leave
    }

    /// All of them as they are written, made at the first call; for wires on which messages follow one another.
    #[must_use]
    pub fn joined(&self, wire: Wire) -> &Bytes {
        self.joined[wire as usize].get_or_init(|| match &self.pushes[..] {
            [only] => only.encoded(wire).clone(),
            several => {
                let mut bytes = BytesMut::with_capacity(several.iter().map(|push| push.encoded(wire).len()).sum());
                several.iter().for_each(|push| bytes.extend_from_slice(push.encoded(wire)));
                bytes.freeze()
            }
        })
    }
}
