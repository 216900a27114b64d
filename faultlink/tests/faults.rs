//! What each fault of the proxy does to real connections.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

use faultlink::{CONNECTIONS_MAX, Connections, Direction, LINE_BYTES_MAX, LOSSES_MAX, Proxy, RECORDED_BYTES_MAX, RETRANSMISSION};
use std::{io::ErrorKind, net::SocketAddr, time::Duration};
use testkit::eventually;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};

const PATIENCE: Duration = Duration::from_secs(30);
/// A delay that never passes: what it holds is freed by another one.
const FOR_EVER: Duration = Duration::from_secs(3600);

async fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = socket.split();
                _ = copy(&mut from, &mut to).await;
                to.shutdown().await
            });
        }
    });
    address
}

/// A proxy to a target that is the test itself.
async fn start() -> (Proxy, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (Proxy::start(listener.local_addr().unwrap()), listener)
}

/// Both ends of a new connection through the proxy.
async fn connection(proxy: &Proxy, listener: &TcpListener) -> (TcpStream, TcpStream) {
    (TcpStream::connect(proxy.address).await.unwrap(), listener.accept().await.unwrap().0)
}

/// Sends `text` and waits until it is there.
async fn tell(sender: &mut TcpStream, receiver: &mut TcpStream, text: &[u8]) {
    sender.write_all(text).await.unwrap();
    let mut heard = vec![0; text.len()];
    receiver.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, text);
}

/// Waits until a look at the proxy finds what is `expected`.
async fn until<T: PartialEq + std::fmt::Debug>(expected: T, mut look: impl FnMut() -> T) {
    eventually(PATIENCE, async || match look() {
        found if found == expected => Ok(()),
        found => Err(format!("{found:?} instead of {expected:?}")),
    })
    .await;
}

/// What is still to be read, and the error that ends it.
async fn rest(socket: &mut TcpStream) -> (Vec<u8>, Option<ErrorKind>) {
    let mut heard = Vec::new();
    let end = socket.read_to_end(&mut heard).await;
    (heard, end.err().map(|error| error.kind()))
}

async fn assert_reset(socket: &mut TcpStream) {
    assert_eq!(rest(socket).await, (Vec::new(), Some(ErrorKind::ConnectionReset)));
}

#[tokio::test]
async fn without_faults_all_bytes_and_the_closes_cross_both_ways() {
    let proxy = Proxy::start(echo_server().await);
    let bytes: Vec<u8> = (0..4_000_000_u32).map(|at| (at % 251) as u8).collect();
    let (mut from, mut to) = TcpStream::connect(proxy.address).await.unwrap().into_split();
    let mut heard = Vec::new();
    let send = async {
        to.write_all(&bytes).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let (_, read) = tokio::join!(send, from.read_to_end(&mut heard));
    read.unwrap();
    assert!(heard == bytes, "{} bytes came back", heard.len());
    until(Connections { accepted: 1, reached: 1, reset: 0, open: 0 }, || proxy.connections()).await;
    let (there, both) = (proxy.traffic(Direction::ToTarget), proxy.traffic(Direction::Both));
    assert_eq!((there.taken, there.delivered, there.swallowed), (4_000_000, 4_000_000, 0));
    assert_eq!((both.taken, both.delivered, both.swallowed), (8_000_000, 8_000_000, 0));
    assert!(proxy.recorded(Direction::FromTarget) == bytes[..RECORDED_BYTES_MAX]);
}

#[tokio::test]
async fn delayed_bytes_wait_their_time_and_keep_their_order_and_their_close() {
    let (proxy, listener) = start().await;
    let (mut near, mut far) = connection(&proxy, &listener).await;
    proxy.delay(Direction::ToTarget, FOR_EVER);
    for byte in 0..100 {
        near.write_all(&[byte]).await.unwrap();
        until(u64::from(byte) + 1, || proxy.traffic(Direction::ToTarget).taken).await;
    }
    near.shutdown().await.unwrap();
    tell(&mut far, &mut near, b"the other direction is as fast as ever").await;
    assert_eq!(proxy.traffic(Direction::ToTarget).delivered, 0);
    proxy.delay(Direction::ToTarget, Duration::ZERO);
    assert_eq!(rest(&mut far).await, ((0..100).collect(), None));

    let delay = Duration::from_millis(30);
    proxy.delay(Direction::Both, delay);
    let (mut near, mut far) = connection(&proxy, &listener).await;
    let begun = tokio::time::Instant::now();
    tell(&mut near, &mut far, b"ping").await;
    tell(&mut far, &mut near, b"pong").await;
    assert!(begun.elapsed() >= 2 * delay, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_delay_is_the_same_for_many_bytes_on_the_way_as_for_one() {
    let proxy = Proxy::start(echo_server().await);
    proxy.delay(Direction::ToTarget, Duration::from_millis(20));
    let [mut stream, mut clock] = [TcpStream::connect(proxy.address).await.unwrap(), TcpStream::connect(proxy.address).await.unwrap()];
    let parcels = async {
        let (mut from, mut to) = stream.split();
        let send = async {
            for byte in 0..100 {
                let taken = proxy.traffic(Direction::ToTarget).taken;
                to.write_all(&[byte]).await.unwrap();
                // Each is a parcel of its own.
                while proxy.traffic(Direction::ToTarget).taken == taken {
                    tokio::task::yield_now().await;
                }
            }
        };
        let mut heard = [0; 100];
        let (_, read) = tokio::join!(send, from.read_exact(&mut heard));
        read.unwrap();
    };
    let twenty_delays = async {
        for _ in 0..20 {
            clock.write_all(b"x").await.unwrap();
            clock.read_u8().await.unwrap();
        }
    };
    tokio::select! {
        biased;
        () = parcels => {}
        () = twenty_delays => panic!("a hundred parcels took longer than twenty delays one after the other"),
    }
}

#[tokio::test]
async fn what_is_lost_comes_after_its_retransmission_and_what_follows_waits_behind_it() {
    let (proxy, listener) = start().await;
    let (mut near, mut far) = connection(&proxy, &listener).await;
    proxy.lose(Direction::ToTarget, 100, || 0);
    let begun = tokio::time::Instant::now();
    near.write_all(b"lost").await.unwrap();
    until(4, || proxy.traffic(Direction::ToTarget).taken).await;
    proxy.lose(Direction::ToTarget, 0, || 0);
    near.write_all(b" and found").await.unwrap();
    tell(&mut far, &mut near, b"the other direction loses nothing").await;
    assert_eq!(proxy.traffic(Direction::ToTarget).delivered, 0);
    let mut heard = [0; 14];
    far.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"lost and found");
    assert!(begun.elapsed() >= RETRANSMISSION * ((1 << LOSSES_MAX) - 1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_delayed_direction_holds_a_bounded_number_of_bytes_and_loses_none() {
    let (proxy, listener) = start().await;
    let (mut near, mut far) = connection(&proxy, &listener).await;
    proxy.delay(Direction::ToTarget, FOR_EVER);
    let size = 16 * LINE_BYTES_MAX;
    let sender = tokio::spawn(async move { near.write_all(&vec![7; size]).await });
    let taken = || usize::try_from(proxy.traffic(Direction::ToTarget).taken).unwrap();
    // One read beyond the bound is possible, and parcels cost a little more than their bytes.
    let bound = LINE_BYTES_MAX / 2..LINE_BYTES_MAX + 64 * 1024;
    until(true, || bound.contains(&taken())).await;
    // Time enough to take more, were it not for the bound.
    for _ in 0..100 {
        tell(&mut far, &mut TcpStream::connect(proxy.address).await.unwrap(), b"").await;
    }
    assert!(bound.contains(&taken()) && !sender.is_finished(), "{} taken", taken());
    proxy.delay(Direction::ToTarget, Duration::ZERO);
    let (heard, end) = rest(&mut far).await;
    assert_eq!((heard.len(), end), (size, None));
    sender.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_cut_resets_what_is_there_and_what_comes_until_it_is_healed() {
    let (proxy, listener) = start().await;
    let (mut near, mut far) = connection(&proxy, &listener).await;
    tell(&mut near, &mut far, b"before").await;
    proxy.cut();
    assert_reset(&mut near).await;
    assert_reset(&mut far).await;
    // The reset may be there before the connect is over.
    if let Ok(mut refused) = TcpStream::connect(proxy.address).await {
        assert_reset(&mut refused).await;
    }
    until(Connections { accepted: 2, reached: 1, reset: 2, open: 0 }, || proxy.connections()).await;
    proxy.heal();
    let (mut near, mut far) = connection(&proxy, &listener).await;
    tell(&mut near, &mut far, b"after").await;
}

#[tokio::test]
async fn a_black_hole_swallows_one_direction_and_tells_nobody_until_it_is_healed() {
    for (direction, back) in [(Direction::ToTarget, Direction::FromTarget), (Direction::FromTarget, Direction::ToTarget)] {
        let (proxy, listener) = start().await;
        let (near, far) = connection(&proxy, &listener).await;
        let (mut mute, mut heard) = if direction == Direction::ToTarget { (near, far) } else { (far, near) };
        tell(&mut mute, &mut heard, b"before").await;
        let before = proxy.traffic(direction).delivered;
        proxy.black_hole(direction);
        mute.write_all(b"lost").await.unwrap();
        until(4, || proxy.traffic(direction).swallowed).await;
        tell(&mut heard, &mut mute, b"the other direction is whole").await;
        drop(mute);
        // Whoever went answers with a reset, which is lost like all that it said.
        heard.write_all(b"anybody there?").await.unwrap();
        until(42, || proxy.traffic(back).taken).await;
        let mut late = TcpStream::connect(proxy.address).await.unwrap();
        late.write_all(b"hello?").await.unwrap();
        until(2, || proxy.connections().accepted).await;
        heard.write_all(b"anybody?").await.unwrap();
        let mut later = TcpStream::connect(proxy.address).await.unwrap();
        until(3, || proxy.connections().accepted).await;
        assert_eq!(heard.try_read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(proxy.connections(), Connections { accepted: 3, reached: 1, reset: 0, open: 3 });
        assert_eq!(proxy.traffic(direction).delivered, before);

        proxy.heal();
        assert_reset(&mut heard).await;
        assert_reset(&mut late).await;
        assert_reset(&mut later).await;
        until(0, || proxy.connections().open).await;
        let (mut near, mut far) = connection(&proxy, &listener).await;
        tell(&mut near, &mut far, b"after").await;
    }
}

#[tokio::test]
async fn a_black_hole_swallows_also_what_is_on_the_way() {
    let (proxy, listener) = start().await;
    let (mut near, mut far) = connection(&proxy, &listener).await;
    proxy.delay(Direction::Both, FOR_EVER);
    near.write_all(b"there").await.unwrap();
    far.write_all(b"back").await.unwrap();
    until(9, || proxy.traffic(Direction::Both).taken).await;
    proxy.black_hole(Direction::Both);
    proxy.delay(Direction::Both, Duration::ZERO);
    until((0, 9), || (proxy.traffic(Direction::Both).delivered, proxy.traffic(Direction::Both).swallowed)).await;
}

#[tokio::test]
async fn a_stalled_direction_flows_on_when_it_is_healed() {
    let (proxy, listener) = start().await;
    let (mut near, mut far) = connection(&proxy, &listener).await;
    proxy.stall(Direction::ToTarget);
    near.write_all(b"later").await.unwrap();
    near.shutdown().await.unwrap();
    let mut second = TcpStream::connect(proxy.address).await.unwrap();
    second.write_all(b"second").await.unwrap();
    let mut second_far = listener.accept().await.unwrap().0;
    for _ in 0..100 {
        tell(&mut far, &mut near, b"the other direction is whole").await;
    }
    let there = proxy.traffic(Direction::ToTarget);
    assert_eq!((there.delivered, there.swallowed, proxy.connections().open), (0, 0, 2));
    proxy.heal();
    assert_eq!(rest(&mut far).await, (b"later".to_vec(), None));
    drop(second);
    assert_eq!(rest(&mut second_far).await, (b"second".to_vec(), None));
    tell(&mut far, &mut near, b"still open in the other direction").await;
}

#[tokio::test]
async fn a_stalled_receiver_is_felt_as_full_buffers() {
    let (proxy, listener) = start().await;
    let (mut near, mut far) = connection(&proxy, &listener).await;
    proxy.stall(Direction::ToTarget);
    let size = 64 * 1024 * 1024; // more than the system buffers
    let sender = tokio::spawn(async move {
        near.write_all(&vec![7; size]).await.unwrap();
        near
    });
    let mut other = TcpStream::connect(proxy.address).await.unwrap();
    let mut other_far = listener.accept().await.unwrap().0;
    for _ in 0..1000 {
        tell(&mut other_far, &mut other, b"time passes").await;
    }
    let there = proxy.traffic(Direction::ToTarget);
    // A read that was under way when the order came may still have been taken.
    assert!(there.taken <= 64 * 1024 && there.delivered == 0 && !sender.is_finished(), "{there:?}");
    proxy.heal();
    let mut heard = vec![0; size];
    far.read_exact(&mut heard).await.unwrap();
    sender.await.unwrap();
}

#[tokio::test]
async fn each_connection_is_reset_after_so_many_bytes_until_the_proxy_is_healed() {
    let (proxy, listener) = start().await;
    let (mut near, mut far) = connection(&proxy, &listener).await;
    tell(&mut near, &mut far, b"not counted").await;
    proxy.reset_after(Direction::ToTarget, 10);
    tell(&mut far, &mut near, b"the other direction has no limit").await;
    tell(&mut near, &mut far, b"123456789").await;
    assert_eq!(proxy.connections().reset, 0);
    near.write_all(b"0 and more").await.unwrap();
    assert_eq!(rest(&mut far).await, (b"0".to_vec(), Some(ErrorKind::ConnectionReset)));
    assert_reset(&mut near).await;
    assert_eq!(proxy.traffic(Direction::ToTarget).delivered, 11 + 10);

    let (mut near, mut far) = connection(&proxy, &listener).await;
    near.write_all(b"0123456789abc").await.unwrap();
    assert_eq!(rest(&mut far).await, (b"0123456789".to_vec(), Some(ErrorKind::ConnectionReset)));
    proxy.heal();
    let (mut near, mut far) = connection(&proxy, &listener).await;
    tell(&mut near, &mut far, b"0123456789abc").await;
}

#[tokio::test]
async fn one_byte_is_flipped_once_on_whatever_connection() {
    let (proxy, listener) = start().await;
    let (mut near, mut far) = connection(&proxy, &listener).await;
    tell(&mut near, &mut far, b"not counted").await;
    proxy.flip(Direction::ToTarget, 12);
    tell(&mut near, &mut far, b"0123456789").await;
    tell(&mut far, &mut near, b"the other direction is whole").await;
    let (mut near, mut far) = connection(&proxy, &listener).await;
    near.write_all(b"abcdef").await.unwrap();
    let mut heard = [0; 6];
    far.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, [b'a', b'b', !b'c', b'd', b'e', b'f']);
    tell(&mut near, &mut far, b"0123456789abcdef").await;
}

#[tokio::test]
async fn a_side_that_breaks_is_told_to_the_other_as_a_reset() {
    let (proxy, listener) = start().await;
    for is_near in [true, false] {
        let (near, far) = connection(&proxy, &listener).await;
        let (broken, mut other) = if is_near { (near, far) } else { (far, near) };
        broken.set_zero_linger().unwrap();
        drop(broken);
        assert_reset(&mut other).await;
    }
}

#[tokio::test]
async fn connections_go_to_the_newest_target_and_are_reset_if_there_is_none() {
    let (proxy, listener) = start().await;
    let (mut near, mut far) = connection(&proxy, &listener).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    proxy.retarget(nobody);
    if let Ok(mut refused) = TcpStream::connect(proxy.address).await {
        assert_reset(&mut refused).await;
    }
    until(Connections { accepted: 2, reached: 1, reset: 1, open: 1 }, || proxy.connections()).await;
    proxy.retarget(echo_server().await);
    let mut echoed = TcpStream::connect(proxy.address).await.unwrap();
    echoed.write_all(b"x").await.unwrap();
    assert_eq!(echoed.read_u8().await.unwrap(), b'x');
    tell(&mut near, &mut far, b"what was there stays").await;
}

#[tokio::test]
async fn connections_above_the_bound_are_reset_and_dropping_the_proxy_closes_all() {
    let proxy = Proxy::start(echo_server().await);
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        open.push(TcpStream::connect(proxy.address).await.unwrap());
    }
    until(CONNECTIONS_MAX as u64, || proxy.connections().reached).await;
    if let Ok(mut refused) = TcpStream::connect(proxy.address).await {
        assert_reset(&mut refused).await;
    }
    until(1, || proxy.connections().reset).await;
    let address = proxy.address;
    drop(proxy);
    for mut socket in open {
        assert_eq!(rest(&mut socket).await, (Vec::new(), None));
    }
    assert!(TcpStream::connect(address).await.is_err());
}
