//! I/O: a link between gateways of two regions: messages of theirs, which mean nothing here, both ways over one connection.
//! Both sides show that they live; one that does not is given up.

use crate::{
    party::{End, HANDSHAKE, Party, WRITE},
    stream::{Reader, Stream, Writer, read_frame, write_all, write_frame},
};
use bytes::Bytes;
use protocol::peer::{Beat, FRAME_BYTES_MAX, Hello, LINK_BYTES_MAX, Message};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc},
    time::{sleep, timeout},
};

/// A side that has said nothing for so long says that it lives.
const BEAT: Duration = Duration::from_millis(500);
/// A side that has said nothing for so long is given up.
pub(crate) const SILENCE: Duration = Duration::from_secs(2);
/// Bytes that wait to be sent over one link. One that takes too little for so long ends: its gateways begin anew with what is
/// true then.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;
/// What each of the messages that wait counts for besides its own bytes.
const PLACE_BYTES: usize = 64;
/// Small messages are gathered to be written by one call, until they are so many bytes.
const GATHERED_BYTES: usize = 64 << 10;
/// Messages that were read and not received. The rest waits in the connection, and so at the other side.
const INBOX_MAX: usize = 1;

/// A connection to a gateway of another region. It lives until it breaks, until its receiver is dropped, or until all its
/// senders are and the other side has read what they sent.
#[derive(Debug)]
pub struct Link {
    /// The half that sends.
    pub sender: Sender,
    /// The half that receives.
    pub receiver: Receiver,
}

/// The half of a link that sends. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sender {
    queue: mpsc::Sender<Queued>,
    /// Permits are bytes; closed when they did not suffice.
    room: Arc<Semaphore>,
    full: Arc<Notify>,
}

/// A message that waits, with its room.
type Queued = (Bytes, OwnedSemaphorePermit);

/// The half of a link that receives.
#[derive(Debug)]
pub struct Receiver {
    inbox: mpsc::Receiver<Result<Bytes, End>>,
    heard: Arc<AtomicU64>,
    end: End,
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// It has so many bytes. Nothing has changed, and it never can be sent whole.
    #[error("{0} bytes, where {LINK_BYTES_MAX} are the most")]
    TooLarge(usize),
    /// [`QUEUE_BYTES_MAX`] wait already. The link ends, and nothing that comes later goes over it: dial anew.
    #[error("too much waits for the other side")]
    Full,
    /// The link has ended: dial anew.
    #[error("the link has ended")]
    Ended,
}

impl Link {
    /// Connects to a peer listener, as HOST:PORT, and is let in; also who is there. It takes 3 s at most.
    pub async fn dial(party: &Party, address: &str) -> Result<(Link, Hello), End> {
        let greeted = async {
            let (mut stream, hello) = party.dial_link(address).await?;
            // Whoever lets it in begins to show that it lives.
            match stream.read(FRAME_BYTES_MAX).await? {
                Some(Message::Beat(Beat {})) => Ok((Link::over(stream), hello)),
                Some(Message::Refused(refused)) => Err(refused.into()),
                _ => Err(End::Refused("it does not take region links as this version does".to_owned())),
            }
        };
        timeout(HANDSHAKE, greeted).await.unwrap_or(Err(End::Late))
    }

    /// Lets in one who was greeted and has come for this.
    pub(crate) fn over(stream: Stream) -> Link {
        let (queue, queued) = mpsc::channel(QUEUE_BYTES_MAX / PLACE_BYTES);
        let (received, inbox) = mpsc::channel(INBOX_MAX);
        let (full, heard) = (Arc::new(Notify::new()), Arc::default());
        // It ends with the halves of the link.
        tokio::spawn(run(stream, queued, received, Arc::clone(&full), Arc::clone(&heard)));
        let sender = Sender { queue, room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)), full };
        Link { sender, receiver: Receiver { inbox, heard, end: End::Closed } }
    }
}

impl Sender {
    /// Waits until half of the queue is free: for those who have much to send, and can wait. At once if the link has ended.
    pub async fn until_free(&self) {
        _ = self.room.acquire_many(u32::try_from(QUEUE_BYTES_MAX / 2).unwrap_or(u32::MAX)).await;
    }

    /// Puts a message into the queue. What was put arrives in this order, without gaps, until the link ends; whether it has
    /// arrived is not told.
    pub fn send(&self, message: Bytes) -> Result<(), NotSent> {
        let bytes = message.len();
        let weight = u32::try_from(bytes + PLACE_BYTES).ok().filter(|_| bytes <= LINK_BYTES_MAX).ok_or(NotSent::TooLarge(bytes))?;
        let place = Arc::clone(&self.room).try_acquire_many_owned(weight).map_err(|none| match none {
            TryAcquireError::NoPermits => {
                self.room.close();
                self.full.notify_one();
                NotSent::Full
            }
            TryAcquireError::Closed => NotSent::Ended,
        })?;
        // The channel has as many places as there can be messages.
        self.queue.try_send((message, place)).map_err(|_| NotSent::Ended)
    }
}

impl Receiver {
    /// The next message; `None` when the link has ended. What is not received waits at the other side. May be cancelled.
    pub async fn recv(&mut self) -> Option<Bytes> {
        match self.inbox.recv().await? {
            Ok(message) => Some(message),
            Err(end) => {
                self.end = end;
                None
            }
        }
    }

    /// How often anything was heard of the other side so far, signs of life included: it lives while this grows.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Why the link has ended, once [`Self::recv`] has returned `None`.
    #[must_use]
    pub fn end(&self) -> &End {
        &self.end
    }
}

async fn run(
    stream: Stream,
    queued: mpsc::Receiver<Queued>,
    received: mpsc::Sender<Result<Bytes, End>>,
    full: Arc<Notify>,
    heard: Arc<AtomicU64>,
) {
    let Stream { reader, writer, .. } = stream;
    let end = tokio::select! {
        end = listen(reader, &received, &heard) => end,
        end = speak(writer, queued) => end,
        () = full.notified() => End::Full,
        () = received.closed() => End::Closed,
    };
    // Both directions are closed by now; what was received before comes first.
    _ = received.send(Err(end)).await;
}

async fn listen(mut reader: Reader, received: &mpsc::Sender<Result<Bytes, End>>, heard: &AtomicU64) -> End {
    loop {
        // A large message may take longer, as long as it comes in. While the receiver is slow nothing is read, and so
        // nobody can be silent.
        let progress = Notify::new();
        let message = tokio::select! {
            message = read_frame(&mut reader, FRAME_BYTES_MAX, || progress.notify_one()) => message,
            () = silence(&progress) => return End::Silent,
        };
        heard.fetch_add(u64::from(message.is_ok()), Ordering::Relaxed);
        match message {
            Ok(Some(Message::Link(message))) => {
                if received.send(Ok(message)).await.is_err() {
                    return End::Closed;
                }
            }
            Ok(Some(Message::Refused(refused))) => return refused.into(),
            // A beat, or something that only a newer version knows.
            Ok(_) => {}
            Err(unfit) => return unfit.into(),
        }
    }
}

/// Returns when nothing has come for too long.
async fn silence(progress: &Notify) {
    while timeout(SILENCE, progress.notified()).await.is_ok() {}
}

/// Ends this direction, and lets the other side read to the end before the connection is gone: what comes to a closed socket
/// would break it off.
async fn leave(mut writer: Writer) -> End {
    _ = timeout(WRITE, writer.shutdown()).await;
    // The other side closes it, and then `listen` ends; a slow one has so long.
    sleep(WRITE).await;
    End::Closed
}

/// Writes what waits, and that this side lives when nothing does. A side that takes nothing for [`WRITE`] is given up, too.
async fn speak(mut writer: Writer, mut queued: mpsc::Receiver<Queued>) -> End {
    let mut written = write_frame(&mut writer, Message::Beat(Beat {}), WRITE).await;
    while written.is_ok() {
        written = match timeout(BEAT, queued.recv()).await {
            Ok(None) => return leave(writer).await,
            Ok(Some((message, mut place))) => {
                let mut frames = Vec::from(Message::Link(message).to_frame());
                while frames.len() < GATHERED_BYTES
                    && let Ok((message, more)) = queued.try_recv()
                {
                    frames.extend_from_slice(&Message::Link(message).to_frame());
                    place.merge(more);
                }
                // Its place is free when it is written.
                write_all(&mut writer, &frames, WRITE).await
            }
            Err(_) => write_frame(&mut writer, Message::Beat(Beat {}), WRITE).await,
        };
    }
    written.err().map_or(End::Closed, End::from)
}
