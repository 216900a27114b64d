//! I/O: many sends by one system call (io_uring, Linux 5.6), where the kernel has it and lets this process use it: containers
//! often forbid it. On loopback a send costs a quarter less than by a call of its own. The only unsafe code of the project: the
//! kernel reads sockets and bytes by their numbers and addresses, so that they must stay until it is done with them; nothing
//! here returns before.
#![allow(unsafe_code)]

use bytes::Bytes;
use io_uring::{IoUring, Probe, opcode, types::Fd};
use std::{
    cell::RefCell,
    io::{self, ErrorKind},
    os::fd::{AsRawFd, BorrowedFd},
};

/// Sends of one call, at most; for so long the first of these clients is written to by nobody else.
pub(super) const SENDS_MAX: usize = 256;

/// Of one thread.
enum Ring {
    Untried,
    Ready(Box<IoUring>),
    /// There is none, or it has failed.
    None,
}

thread_local! {
    static RING: RefCell<Ring> = const { RefCell::new(Ring::Untried) };
}

/// Whether this thread can send so.
pub(crate) fn are_possible() -> bool {
    RING.with_borrow_mut(|ring| {
        if matches!(ring, Ring::Untried) {
            *ring = open().map_or(Ring::None, |ring| Ring::Ready(Box::new(ring)));
        }
        matches!(ring, Ring::Ready(_))
    })
}

/// Sends to each socket what it takes at once, of at most [`SENDS_MAX`], and says how many bytes that is: 0 if none, or if it is
/// broken. `None`: unknown, nothing more must be sent to it. Panics unless [`are_possible`].
pub(super) fn send(sends: &[(BorrowedFd<'_>, &Bytes)]) -> Vec<Option<usize>> {
    RING.with_borrow_mut(|state| {
        let Ring::Ready(ring) = state else { panic!("no ring") };
        let mut sent = vec![None; sends.len()];
        if let Err(error) = run(ring, sends, &mut sent) {
            tracing::warn!(%error, "io_uring failed: this thread writes to each client by a system call of its own from now on");
            // The ring may still read what was not done: it ends, and what it might read is never freed.
            *state = Ring::None;
            sends.iter().for_each(|(_, bytes)| std::mem::forget(Bytes::clone(bytes)));
        }
        sent
    })
}

fn run(ring: &mut IoUring, sends: &[(BorrowedFd<'_>, &Bytes)], sent: &mut [Option<usize>]) -> io::Result<()> {
    for (number, (socket, bytes)) in (0_u64..).zip(sends) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let send = opcode::Send::new(Fd(socket.as_raw_fd()), bytes.as_ptr(), length).flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
        // SAFETY: socket and bytes are borrowed by the caller until this returns, with as many results as there are sends, or with
        // an error, after which the bytes are kept for ever; a socket that was taken up is held by the kernel itself.
        unsafe { ring.submission().push(&send.build().user_data(number)) }.map_err(io::Error::other)?;
    }
    let mut left = sends.len();
    while left > 0 {
        match ring.submit_and_wait(left) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            Ok(_) | Err(_) => {}
        }
        for done in ring.completion() {
            let place = usize::try_from(done.user_data()).ok().and_then(|number| sent.get_mut(number)).ok_or(ErrorKind::InvalidData)?;
            *place = Some(usize::try_from(done.result()).unwrap_or(0));
            left -= 1;
        }
    }
    Ok(())
}

fn open() -> io::Result<IoUring> {
    let ring = IoUring::new(u32::try_from(SENDS_MAX).unwrap_or(u32::MAX))?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    if probe.is_supported(opcode::Send::CODE) { Ok(ring) } else { Err(ErrorKind::Unsupported.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        os::{fd::AsFd, unix::net::UnixStream},
    };

    fn pair() -> (UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        (ours, theirs)
    }

    fn received(mut socket: &UnixStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        _ = socket.read_to_end(&mut bytes);
        bytes
    }

    #[test]
    fn each_socket_is_sent_its_own_bytes_as_far_as_it_takes_them() {
        if !are_possible() {
            return eprintln!("not tested: there is no io_uring here");
        }
        let [ready, full, gone, small] = [pair(), pair(), pair(), pair()];
        while (&full.0).write(&[0; 4096]).is_ok() {}
        drop(gone.1);
        let (short, long) = (Bytes::from_static(b"short"), Bytes::from(b"0123456789".repeat(1 << 20)));
        let sends = [(ready.0.as_fd(), &short), (full.0.as_fd(), &short), (gone.0.as_fd(), &short), (small.0.as_fd(), &long)];
        let sent = send(&sends);
        let taken = received(&small.1);
        assert!(!taken.is_empty() && taken.len() < long.len() && long.starts_with(&taken));
        assert_eq!(sent, [Some(5), Some(0), Some(0), Some(taken.len())]);
        assert_eq!(received(&ready.1), b"short");
        assert!(are_possible(), "sockets that do not take anything are nothing unusual");
    }

    #[test]
    fn a_ring_that_fails_is_not_used_again_and_what_became_of_its_sends_is_unknown() {
        if !are_possible() {
            return eprintln!("not tested: there is no io_uring here");
        }
        let (ours, _theirs) = pair();
        let word = Bytes::from_static(b"word");
        // More than the ring holds.
        let sent = send(&vec![(ours.as_fd(), &word); SENDS_MAX + 1]);
        assert_eq!((sent.len(), sent.into_iter().flatten().count()), (SENDS_MAX + 1, 0));
        assert!(!are_possible());
    }
}
