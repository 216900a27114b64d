//! I/O: what one writes first with axum: a room is a broadcast channel of strings, a client two tasks over a split socket, and all
//! sizes are the defaults.

use axum::{
    Router,
    extract::{
        Path, State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    response::{IntoResponse, Response, Sse, sse::Event},
    routing::get,
};
use futures_util::{SinkExt, Stream, StreamExt, stream};
use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{net::TcpListener, sync::broadcast};

/// Messages that a slow client may be behind; one that is further behind loses its connection.
const BEHIND_MAX: usize = 100;

#[derive(Clone, Default)]
struct Rooms(Arc<Mutex<HashMap<String, broadcast::Sender<String>>>>);

impl Rooms {
    fn room(&self, name: &str) -> broadcast::Sender<String> {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.entry(name.to_owned()).or_insert_with(|| broadcast::channel(BEHIND_MAX).0).clone()
    }
}

pub(super) async fn serve(listener: TcpListener) -> anyhow::Result<()> {
    let router = Router::new().route("/ws/{room}", get(upgrade)).route("/events/{room}", get(events)).with_state(Rooms::default());
    Ok(axum::serve(listener, router).await?)
}

async fn upgrade(Path(room): Path<String>, State(rooms): State<Rooms>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |socket| chat(socket, room, rooms)).into_response()
}

async fn chat(socket: WebSocket, room: String, rooms: Rooms) {
    let (mut sink, mut incoming) = socket.split();
    let mut messages = rooms.room(&room).subscribe();
    if sink.send(Message::text("ready")).await.is_err() {
        return;
    }
    let mut sending = tokio::spawn(async move {
        while let Ok(message) = messages.recv().await {
            if sink.send(Message::text(message)).await.is_err() {
                break;
            }
        }
    });
    let mut receiving = tokio::spawn(async move {
        while let Some(Ok(Message::Text(text))) = incoming.next().await {
            if let Some((room, message)) = text.split_once(' ') {
                // An empty room is no error.
                _ = rooms.room(room).send(message.to_owned());
            }
        }
    });
    tokio::select! {
        _ = &mut sending => receiving.abort(),
        _ = &mut receiving => sending.abort(),
    }
}

async fn events(Path(room): Path<String>, State(rooms): State<Rooms>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let messages = rooms.room(&room).subscribe();
    Sse::new(stream::unfold(messages, |mut messages| async move {
        let message = messages.recv().await.ok()?;
        Some((Ok(Event::default().data(message)), messages))
    }))
}
