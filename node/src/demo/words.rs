//! Pure: what the demo says when it begins.

use super::layout::{Layout, Region};
use core::{fmt::Write, net::SocketAddr};

/// Where everything is, and what to try.
pub(super) fn welcome(layout: &Layout) -> String {
    let [page, _] = layout.origins();
    let mut text = format!("{} regions in one process. Open\n\n  {page}/\n\n", layout.regions.len());
    let at = |address: Option<SocketAddr>| address.map(|address| address.to_string()).unwrap_or_default();
    let _ = writeln!(text, "  region  clients (HTTP, WebSocket, SSE)  Redis clients    operators");
    for Region { name, listen } in &layout.regions {
        let (client, admin) = (format!("http://{}", at(listen.client)), format!("http://{}/ops", at(listen.admin)));
        let _ = writeln!(text, "  {name:6}  {client:30}  {:15}  {admin}", at(listen.resp));
    }
    if let [first, second, ..] = layout.regions.as_slice() {
        let (a, b, json) = (first.name, second.name, "-H 'Content-Type: application/json'");
        let (client, resp) = (at(first.listen.client), second.listen.resp.map_or(0, |resp| resp.port()));
        let _ = write!(
            text,
            "\nOn the page: like and buy tickets in two regions, cut a link, go on, heal it. From a shell:\n\n  \
             curl -X PUT {page}/demo/links/{a}/{b} {json} -d '{{\"up\": false}}'\n  \
             curl -X PUT {page}/demo/links/{a}/{b} {json} -d '{{\"up\": true, \"delay_ms\": 80, \"loss_percent\": 2}}'\n  \
             curl http://{client}/v1/counters/likes/add {json} -d '{{\"by\": 3}}'\n  \
             redis-cli -p {resp} INCRBY likes 2\n  \
             redis-cli -p {resp} DECR stock:tickets\n  \
             curl 'http://{client}/v1/counters/likes?detail=replicas'\n\n\
             Ctrl-C ends it; nothing is left behind.\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_comes_first_and_every_region_has_its_row() {
        let text = welcome(&Layout::new(3, 8000));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..3], ["3 regions in one process. Open", "", "  http://127.0.0.1:8000/"]);
        assert_eq!(lines[6], "  us      http://127.0.0.1:8020           127.0.0.1:8021   http://127.0.0.1:8022/ops");
        assert!(text.contains("curl -X PUT http://127.0.0.1:8000/demo/links/eu/us "), "{text}");
        assert!(text.contains("redis-cli -p 8021 INCRBY"), "{text}");
    }
}
