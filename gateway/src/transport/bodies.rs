//! I/O: bodies of requests. One that does not come to its end in time is given up: each byte by itself is soon enough, so the whole has
//! a deadline. And one whose end a proxy before us may see elsewhere hides no second request (RFC 9112, section 11.2).

use crate::{api::error::ApiError, gateway::Gateway};
use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{Response, header},
    middleware::Next,
    response::IntoResponse,
};
use hyper::body::{Body as _, Frame, SizeHint};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};
use tokio::time::{Instant, Sleep, sleep_until};

/// A body with a deadline. Most are there when they are asked for, and then no timer is made.
struct Hurried {
    body: Body,
    deadline: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    is_late: Arc<AtomicBool>,
}

/// Answers 408, and ends the connection, if the body is not there in time; 400, if its length is said in two ways. Behind a body in
/// chunks the connection ends in any case: hyper reads past a length that stands after `Transfer-Encoding`, and does not say so.
pub(crate) async fn watch(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response<Body> {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    if is_chunked && request.headers().contains_key(header::CONTENT_LENGTH) {
        return last(ApiError::BadRequest("both Transfer-Encoding and Content-Length".to_owned()));
    }
    let is_late = Arc::new(AtomicBool::new(false));
    let deadline = Instant::now() + gateway.settings.body_timeout;
    let hurried = |body| Body::new(Hurried { body, deadline, timer: None, is_late: is_late.clone() });
    let response = next.run(request.map(hurried)).await;
    if is_late.load(Ordering::Relaxed) {
        gateway.metrics.refused_inputs.with_label_values(&["body"]).inc();
        return last(ApiError::Late);
    }
    if is_chunked { last(response) } else { response }
}

/// An answer after which the connection ends.
fn last(answer: impl IntoResponse) -> Response<Body> {
    ([(header::CONNECTION, "close")], answer).into_response()
}

impl hyper::body::Body for Hurried {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Hurried { body, deadline, timer, is_late } = &mut *self;
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        ready!(timer.get_or_insert_with(|| Box::pin(sleep_until(*deadline))).as_mut().poll(context));
        is_late.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err(axum::Error::new(io::Error::from(io::ErrorKind::TimedOut)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
