//! Pure: the map of this crate. Connections between nodes: what they are made of, and whom they believe.
//!
//! | file | what |
//! |---|---|
//! | `tls` | what TLS between nodes demands |
//! | `certificate` | a certificate that this machine shows, and another one in its place; clients are shown one as well |
//! | `expiry` | until when one is good |
//! | `stream` | messages over TCP, or over TLS |
//! | `quarantine` | those that send what cannot be read, and have no connection for a while |
//! | `party` | how both ends show each other that they belong to the same cluster |
//! | `accepting` | the peer listener, and who serves those that connect |
//! | `link` | a link between gateways of two regions |

pub mod accepting;
pub mod certificate;
pub mod expiry;
pub mod link;
pub mod party;
pub mod quarantine;
pub mod stream;
pub mod tls;

pub use accepting::Links;
pub use certificate::{BadCertificate, Certificate, Shown};
pub use link::Link;
pub use party::{End, METRICS, Party, member};
pub use stream::Stream;
pub use tls::PeerTls;
