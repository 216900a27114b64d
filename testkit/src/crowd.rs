//! I/O: guests: clients that are named users in channels of some gateway, many at a time, until they go: with a word, or
//! without one. And watchers, who note what they are told of those who come and go.

mod watcher;

pub use watcher::{Told, Watched, Watcher};

use anyhow::{Context, Result, bail, ensure};
use core::net::SocketAddr;
use futures_util::{SinkExt, StreamExt, stream};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Message,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

/// What signs guests' tokens.
const SECRET: &str = "the guest book of a crowd, which is no secret";
/// Guests who enter at the same time; others stand in line.
const ENTERING_MAX: usize = 100;
/// How long entering, or one answer, may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause before a door is tried again that was shut.
const KNOCK_PAUSE: Duration = Duration::from_millis(100);
/// Commands of one guest that were not sent yet; a further one waits.
const COMMANDS_MAX: usize = 4;

/// What a gateway's configuration needs so that it knows guests. Services and strangers may do everything, too.
#[must_use]
pub fn auth_toml() -> String {
    format!("[auth]\ndevelopment = true\nhmac_secrets = [\"{SECRET}\"]\n")
}

/// The token of a user, which never expires; of nobody for "".
#[must_use]
pub fn token(user: &str) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &json!({ "sub": user }), &key).expect("claims that JSON can say")
}

/// Who wants to enter where.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Nobody in particular if empty.
    pub user: String,
    /// In so many channels at once.
    pub channels: Vec<String>,
    /// At this door.
    pub gateway: SocketAddr,
}

/// A client that is here. Dropping it ends its connection without a word.
#[derive(Debug)]
pub struct Guest {
    /// As what it was let in.
    pub wish: Wish,
    /// The id that the gateway gave it.
    pub client: String,
    commands: mpsc::Sender<Ask>,
    task: JoinHandle<()>,
    ended: Arc<Mutex<Option<String>>>,
}

/// What a guest is told to do.
#[derive(Debug)]
enum Ask {
    Command(Value, tokio::sync::oneshot::Sender<Value>),
    Leave,
}

type Socket = WebSocketStream<TcpStream>;

impl Guest {
    /// Returns once everybody can see the guest, by its gateway's word.
    pub async fn enter(wish: Wish) -> Result<Guest> {
        timeout(PATIENCE, Guest::let_in(wish)).await.context("not let in")?
    }

    async fn let_in(wish: Wish) -> Result<Guest> {
        let (mut socket, client) = connect(wish.gateway, &wish.user).await?;
        let commands = wish.channels.iter().zip(2_u64..);
        let commands: Vec<String> =
            commands.map(|(channel, id)| json!({ "id": id, "subscribe": { "channel": channel } }).to_string()).collect();
        socket.send(Message::text(commands.join("\n"))).await?;
        let mut missing = wish.channels.len();
        while missing > 0 {
            for reply in receive(&mut socket).await? {
                ensure!(reply.get("error").is_none(), "{} is not let in: {reply}", wish.user);
                missing -= usize::from(reply.get("subscribe").is_some());
            }
        }
        let (commands, asked) = mpsc::channel(COMMANDS_MAX);
        let ended = Arc::new(Mutex::new(None));
        let task = tokio::spawn(stay(socket, asked, ended.clone()));
        Ok(Guest { wish, client, commands, task, ended })
    }

    /// Goes with a word: a close with code 1000. Returns when it was said.
    pub async fn leave(mut self) {
        _ = self.commands.send(Ask::Leave).await;
        _ = (&mut self.task).await;
    }

    /// Asks something, `{"presence": …}` for one, and returns the whole reply.
    pub async fn ask(&self, command: Value) -> Result<Value> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        ensure!(self.commands.send(Ask::Command(command, answer)).await.is_ok(), "the connection ended");
        Ok(timeout(PATIENCE, answered).await.context("no answer")??)
    }

    /// Why the connection ended, if it did not by the guest's own will.
    #[must_use]
    pub fn ended(&self) -> Option<String> {
        self.ended.lock().expect("nobody panics").clone()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Lets all in, many at a time; one that is turned away knocks again, until [`PATIENCE`] is over. In the order of the wishes.
pub async fn enter_all(wishes: impl IntoIterator<Item = Wish>) -> Vec<Guest> {
    let entering = stream::iter(wishes).map(|wish| async move {
        let knock = async {
            loop {
                match Guest::enter(wish.clone()).await {
                    Ok(guest) => return guest,
                    Err(error) => eprintln!("{} at {}: {error:#}", wish.user, wish.gateway),
                }
                sleep(KNOCK_PAUSE).await;
            }
        };
        timeout(PATIENCE, knock).await.unwrap_or_else(|_| panic!("{} is not let in at {}", wish.user, wish.gateway))
    });
    entering.buffered(ENTERING_MAX).collect().await
}

/// How many clients each user has in a channel; one of nobody counts by itself. What rosters are to show.
#[must_use]
pub fn present<'a>(channel: &str, guests: impl IntoIterator<Item = &'a Guest>) -> BTreeMap<String, u64> {
    let mut present = BTreeMap::new();
    for guest in guests {
        if guest.wish.channels.iter().any(|here| here == channel) {
            let member = if guest.wish.user.is_empty() { &guest.client } else { &guest.wish.user };
            *present.entry(member.clone()).or_default() += 1;
        }
    }
    present
}

/// Opens a connection; returns it with the client's id.
async fn connect(gateway: SocketAddr, user: &str) -> Result<(Socket, String)> {
    let stream = TcpStream::connect(gateway).await?;
    stream.set_nodelay(true)?;
    // Small, for there are thousands.
    let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
    let url = format!("ws://{gateway}/connection/websocket");
    let (mut socket, _) = client_async_with_config(url, stream, Some(config)).await?;
    let connect = if user.is_empty() { json!({}) } else { json!({ "token": token(user) }) };
    socket.send(Message::text(json!({ "id": 1, "connect": connect }).to_string())).await?;
    loop {
        for reply in receive(&mut socket).await? {
            ensure!(reply.get("error").is_none(), "{reply}");
            if let Some(client) = reply["connect"]["client"].as_str() {
                return Ok((socket, client.to_owned()));
            }
        }
    }
}

/// The messages of one frame; pings are answered. An error says how the connection ended.
async fn receive(socket: &mut Socket) -> Result<Vec<Value>> {
    loop {
        match socket.next().await.context("the connection ended")?? {
            Message::Text(text) if &*text == "{}" => socket.send(Message::text("{}")).await?,
            Message::Text(text) => {
                if text.lines().any(|line| line == "{}") {
                    socket.send(Message::text("{}")).await?;
                }
                return text.lines().filter(|line| *line != "{}").map(|line| Ok(serde_json::from_str(line)?)).collect();
            }
            Message::Close(frame) => bail!("closed: {frame:?}"),
            _ => {}
        }
    }
}

/// Answers pings and does what it is told until it goes.
async fn stay(mut socket: Socket, mut asked: mpsc::Receiver<Ask>, ended: Arc<Mutex<Option<String>>>) {
    let (mut waiting, mut last_id) = (BTreeMap::new(), 1_000_000_u64);
    loop {
        let received = tokio::select! {
            received = receive(&mut socket) => received,
            Some(ask) = asked.recv() => match ask {
                Ask::Command(mut command, answer) => {
                    last_id += 1;
                    command["id"] = json!(last_id);
                    waiting.insert(last_id, answer);
                    socket.send(Message::text(command.to_string())).await.map(|()| Vec::new()).map_err(Into::into)
                }
                Ask::Leave => {
                    _ = socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })).await;
                    // The answer, so that the word has arrived.
                    while let Ok(Some(Ok(_))) = timeout(PATIENCE, socket.next()).await {}
                    return;
                }
            },
        };
        match received {
            Ok(replies) => {
                for reply in replies {
                    if let Some(answer) = reply["id"].as_u64().and_then(|id| waiting.remove(&id)) {
                        _ = answer.send(reply);
                    }
                }
            }
            Err(error) => {
                *ended.lock().expect("nobody panics") = Some(format!("{error:#}"));
                return;
            }
        }
    }
}
