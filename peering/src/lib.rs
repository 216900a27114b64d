//! Pure: the map of this crate. Connections between nodes: what they are made of, and whom they believe.
//!
//! | file | what |
//! |---|---|
//! | `tls` | what TLS between nodes demands |
//! | `stream` | messages over TCP, or over TLS |
//! | `party` | how both ends show each other that they belong to the same cluster |
//! | `accepting` | the peer listener, and who serves those that connect |
//! | `link` | a link between gateways of two regions |

pub mod accepting;
pub mod link;
pub mod party;
pub mod stream;
pub mod tls;

pub use accepting::Links;
pub use link::Link;
pub use party::{End, Party};
pub use stream::Stream;
pub use tls::PeerTls;
