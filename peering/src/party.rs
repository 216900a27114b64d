//! I/O: one end of a connection between nodes, a replica's or a gateway's: how both ends show each other that they belong
//! to the same cluster. Both prove that they have the cluster's key, without showing it.

use crate::{
    link::{QUEUE_BYTES_MAX, SILENCE},
    quarantine::Quarantine,
    stream::{Stream, Unfit, Writer, write_frame},
    tls::PeerTls,
};
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use prometheus::{IntCounter, Registry};
use protocol::peer::{Hello, Message, Proof, Refused, STRANGER_FRAME_BYTES_MAX, VERSION};
use sha2::Sha256;
use std::{collections::BTreeMap, fmt, io, time::Duration};
use tokio::{net::TcpStream, sync::mpsc, time::Instant};

/// How long connecting, and then the first messages of both sides, may take.
pub const HANDSHAKE: Duration = Duration::from_secs(3);
/// How long a slice of a message may take to be written.
pub const WRITE: Duration = Duration::from_secs(10);
/// How often what is not connected is dialed, give or take half of it.
pub const REDIAL: Duration = Duration::from_millis(500);

/// Every metric of this crate: name, help.
pub const METRICS: [(&str, &str); 2] = [
    ("headcount_peer_poison_total", "Connections to other nodes that were ended because of what came over them; it was dropped."),
    ("headcount_peer_quarantines_total", "Times that another node was put into quarantine, because it sent such again and again."),
];

/// Who one end of a connection is, and how it proves it.
pub struct Party {
    /// With the first half of every nonce, by which a node knows itself.
    me: Hello,
    /// What every node of the cluster has and nobody else. Nothing shows it.
    key: Vec<u8>,
    tls: Option<PeerTls>,
    random_u64: fn() -> u64,
    /// What times of the quarantine are counted from.
    start: Instant,
    suspects: Mutex<Suspects>,
    poison: IntCounter,
    quarantines: IntCounter,
}

#[derive(Default)]
struct Suspects {
    quarantine: Quarantine,
    /// Who was found at an address that was dialed, if it was out: it is not dialed meanwhile.
    addresses: BTreeMap<String, String>,
}

impl fmt::Debug for Party {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Party").field("me", &self.me).finish_non_exhaustive()
    }
}

/// Why a connection ended or never began.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// It broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The other side did not answer in time.
    #[error("it took too long")]
    Late,
    /// One side does not take the other; the text says what to look at.
    #[error("{0}")]
    Refused(String),
    /// It belongs here and has sent what cannot be read, is too large, or breaks the rules; the text says what.
    #[error("{0}")]
    Poison(String),
    /// It did so too often.
    #[error("it is in quarantine, because of what it has sent")]
    Quarantined,
    /// What was dialed leads back here: there is nothing to dial.
    #[error("this node itself is there")]
    Myself,
    /// The two nodes are connected, and that connection stays.
    #[error("there is another connection already")]
    Second,
    /// One side has said all that it wanted to.
    #[error("closed")]
    Closed,
    /// Nothing has come over a region link for too long.
    #[error("it has said nothing for {} s", SILENCE.as_secs())]
    Silent,
    /// More waited to go over a region link than may.
    #[error("it takes too little: {QUEUE_BYTES_MAX} bytes waited for it")]
    Full,
}

impl From<Refused> for End {
    fn from(Refused { reason }: Refused) -> End {
        End::Refused(format!("it said: {reason:.200}"))
    }
}

impl From<Unfit> for End {
    fn from(unfit: Unfit) -> End {
        match unfit {
            Unfit::Io(error) => End::Io(error),
            Unfit::Refused(reason) => End::Refused(reason),
            Unfit::Poison(reason) => End::Poison(reason),
        }
    }
}

impl Party {
    /// `me` lacks what is made up here: the version and the nonce. With `tls` the key may be empty: then the certificates alone
    /// show who belongs here. Without, what nodes say to each other is not encrypted.
    pub fn new(me: Hello, key: Vec<u8>, tls: Option<PeerTls>, random_u64: fn() -> u64) -> Party {
        let me = Hello { version: VERSION, nonce: random_bytes(random_u64).into(), ..me };
        let [poison, quarantines] =
            METRICS.map(|(name, help)| IntCounter::new(name, help).unwrap_or_else(|_| unreachable!("{name} is the name of a metric")));
        Party { me, key, tls, random_u64, start: Instant::now(), suspects: Mutex::default(), poison, quarantines }
    }

    /// Shows what becomes of nodes that send what they should not.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        [&self.poison, &self.quarantines].into_iter().try_for_each(|metric| registry.register(Box::new(metric.clone())))
    }

    /// A node that belongs here has ended its connection by what it sent, `why`; see [`crate::quarantine`].
    pub fn offended(&self, member: &str, why: &str) {
        self.poison.inc();
        let out_ms = self.suspects.lock().quarantine.offended(member, (self.random_u64)(), self.now_ms());
        let Some(out_ms) = out_ms else { return tracing::warn!(peer = member, why, "peer: it was cut off for what it has sent") };
        self.quarantines.inc();
        tracing::warn!(peer = member, why, seconds = out_ms / 1000, "peer: in quarantine for what it has sent again and again");
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether nobody is to be found at an address, because whoever was there is in quarantine.
    fn shunned(&self, address: &str) -> Result<(), End> {
        let mut suspects = self.suspects.lock();
        let Some(member) = suspects.addresses.get(address) else { return Ok(()) };
        if suspects.quarantine.left_ms(member, self.now_ms()).is_some() {
            return Err(End::Quarantined);
        }
        suspects.addresses.remove(address);
        Ok(())
    }

    /// Whether the other end may come in; found at an address, if it was dialed.
    fn admit(&self, hello: &Hello, dialed: Option<&str>) -> Result<(), End> {
        let (mut suspects, member) = (self.suspects.lock(), member(hello));
        if suspects.quarantine.left_ms(&member, self.now_ms()).is_none() {
            return Ok(());
        }
        // As many as addresses are dialed, which is bounded by those who dial.
        dialed.map(|address| suspects.addresses.insert(address.to_owned(), member));
        Err(End::Quarantined)
    }

    /// Who this end is.
    pub fn me(&self) -> &Hello {
        &self.me
    }

    /// What is said on one connection: the second half of the nonce is new, so that no proof is good for another one.
    fn hello(&self) -> Hello {
        let nonce = [&self.me.nonce[..], &random_bytes(self.random_u64)].concat();
        Hello { nonce: nonce.into(), ..self.me.clone() }
    }

    /// Connects to HOST:PORT for counters, and learns who is there, and that it belongs here. The caller bounds the time.
    pub async fn dial(&self, address: &str) -> Result<(Stream, Hello), End> {
        self.shunned(address)?;
        self.greet_as(self.hello(), TcpStream::connect(address).await?, Some(address)).await
    }

    /// The same for a region link. The caller bounds the time.
    pub(crate) async fn dial_link(&self, address: &str) -> Result<(Stream, Hello), End> {
        self.shunned(address)?;
        self.greet_as(Hello { link: true, ..self.hello() }, TcpStream::connect(address).await?, Some(address)).await
    }

    /// Learns who has connected, and that it belongs here. The caller bounds the time.
    pub async fn greet(&self, stream: TcpStream) -> Result<(Stream, Hello), End> {
        self.greet_as(self.hello(), stream, None).await
    }

    async fn greet_as(&self, me: Hello, stream: TcpStream, dialed: Option<&str>) -> Result<(Stream, Hello), End> {
        match self.greet_stranger(me, stream, dialed).await {
            // Nobody knows who it was.
            Err(End::Poison(reason)) => Err(End::Refused(reason)),
            Err(end) => Err(end),
            Ok((stream, hello)) => match self.admit(&hello, dialed) {
                Ok(()) => Ok((stream, hello)),
                Err(out) => {
                    stream.refuse(out.to_string()).await;
                    Err(out)
                }
            },
        }
    }

    async fn greet_stranger(&self, me: Hello, stream: TcpStream, dialed: Option<&str>) -> Result<(Stream, Hello), End> {
        let mut stream = Stream::open(stream, self.tls.as_ref(), dialed).await?;
        stream.write(Message::Hello(me.clone())).await?;
        let Some(Message::Hello(hello)) = stream.read(STRANGER_FRAME_BYTES_MAX).await? else {
            return Err(End::Refused("it did not say who it is".to_owned()));
        };
        if (&hello.region, &hello.node) == (&self.me.region, &self.me.node) {
            return Err(if hello.nonce.starts_with(&self.me.nonce) {
                End::Myself
            } else {
                End::Refused("another node has this one's region and name".to_owned())
            });
        }
        if hello.cluster != self.me.cluster {
            let reason = format!("it belongs to the cluster {:?}, this node to {:?}", hello.cluster, self.me.cluster);
            return Err(stream.refuse(reason).await);
        }
        stream
            .write(Message::Proof(Proof { mac: self.proof(&hello, &me, &stream.channel).finalize().into_bytes().to_vec().into() }))
            .await?;
        match stream.read(STRANGER_FRAME_BYTES_MAX).await? {
            Some(Message::Proof(proof)) => match self.proof(&me, &hello, &stream.channel).verify_slice(&proof.mac) {
                Ok(()) => Ok((stream, hello)),
                // Its hash is of what it knows of our hello.
                Err(_) if me.link => {
                    Err(End::Refused("it does not have this cluster's key, or is of a version without region links".to_owned()))
                }
                Err(_) => Err(End::Refused("it does not have this cluster's key".to_owned())),
            },
            Some(Message::Refused(refused)) => Err(refused.into()),
            _ => Err(End::Refused("it did not prove that it has this cluster's key".to_owned())),
        }
    }

    /// What shows the receiver of `theirs` that the sender of `mine` has the key, and is at the other end of this very
    /// `channel`: not behind somebody between who has a certificate and passes on what is said.
    fn proof(&self, theirs: &Hello, mine: &Hello, channel: &[u8]) -> Hmac<Sha256> {
        // Keys may have any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        for hello in [theirs, mine] {
            mac.update(&Message::Hello(hello.clone()).to_frame());
        }
        mac.update(channel);
        mac
    }
}

/// `region/node` of one end.
#[must_use]
pub fn member(hello: &Hello) -> String {
    format!("{}/{}", hello.region, hello.node)
}

/// Writes what is to be said until nothing will be any more.
pub async fn speak(mut writer: Writer, mut messages: mpsc::Receiver<Message>) -> End {
    while let Some(message) = messages.recv().await {
        if let Err(unfit) = write_frame(&mut writer, message, WRITE).await {
            return unfit.into();
        }
    }
    End::Closed
}

fn random_bytes(random_u64: fn() -> u64) -> Vec<u8> {
    [random_u64().to_le_bytes(), random_u64().to_le_bytes()].concat()
}
