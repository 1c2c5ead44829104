//! What receivers do, and what a request has to make of it.

use std::io;

use super::receivers::{Certificate, Receiver, Stream, drip, hold, say};

/// One receiver and what becomes of a request to it.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) receiver: Receiver,
    pub(super) expect: Expect,
    /// Whether only the deadline of the whole request ends it.
    pub(super) ended_by_deadline: bool,
    /// Whether only the deadline of one of its phases ends it.
    pub(super) ended_by_phase: bool,
    /// Whether a second request has the same end.
    pub(super) again: bool,
    /// How many connections the receiver sees, where that matters.
    pub(super) connections: Option<usize>,
    /// How large the request's body is, at least.
    pub(super) body_bytes: usize,
}

#[derive(Debug)]
pub(super) enum Expect {
    Status { status: u16, cut: bool, body: Option<Vec<u8>> },
    Error { code: &'static str, status: Option<u16>, says: &'static str },
}

fn case(name: &'static str, receiver: Receiver, expect: Expect) -> Case {
    Case {
        name,
        receiver,
        expect,
        ended_by_deadline: false,
        ended_by_phase: false,
        again: false,
        connections: None,
        body_bytes: 0,
    }
}

fn status(status: u16) -> Expect {
    Expect::Status { status, cut: false, body: None }
}

fn body(status: u16, body: &[u8]) -> Expect {
    Expect::Status { status, cut: false, body: Some(body.to_vec()) }
}

fn cut(status: u16) -> Expect {
    Expect::Status { status, cut: true, body: None }
}

fn error(code: &'static str, says: &'static str) -> Expect {
    Expect::Error { code, status: None, says }
}

/// An error after the head of a response with status 200.
fn late_error(code: &'static str, says: &'static str) -> Expect {
    Expect::Error { code, status: Some(200), says }
}

pub(super) fn all() -> Vec<Case> {
    let groups = [slow(), large(), interim(), redirects(), resets(), tls(), heads(), bodies(), connections()];
    groups.into_iter().flatten().collect()
}

fn slow() -> Vec<Case> {
    let by_deadline = |name, receiver, expect| Case { ended_by_deadline: true, ..case(name, receiver, expect) };
    vec![
        by_deadline("never reads", Receiver::raw(stand_still), error("timeout_total", "no answer had begun")),
        by_deadline(
            "never answers",
            Receiver::new(|stream, _| hold(stream)),
            error("timeout_total", "no answer had begun"),
        ),
        by_deadline(
            "drips its head",
            Receiver::new(|stream, _| drip(stream, b"HTTP/1.1 200 OK\r\nx-a: and so on for a long time\r\n")),
            error("timeout_total", "no answer had begun"),
        ),
        by_deadline(
            "drips its body",
            Receiver::new(|stream, _| {
                say(stream, "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")?;
                drip(stream, b"x")
            }),
            late_error("timeout_total", "the answer had not ended, after status 200"),
        ),
        by_deadline(
            "stops in its body",
            Receiver::new(|stream, _| {
                say(stream, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")?;
                hold(stream)
            }),
            late_error("timeout_total", "the answer had not ended, after status 200"),
        ),
        by_deadline(
            "drips chunks",
            Receiver::new(|stream, _| {
                say(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
                drip(stream, b"1\r\nx\r\n")
            }),
            late_error("timeout_total", "the answer had not ended, after status 200"),
        ),
        Case {
            ended_by_phase: true,
            ..case(
                "drips its head, with a deadline for it",
                Receiver::new(|stream, _| drip(stream, b"HTTP/1.1 200 OK\r\nx-a: and so on\r\n")),
                error("timeout_first_byte", "did not begin to answer within 2s"),
            )
        },
    ]
}

/// Never returns: the process of the cases ends before.
fn stand_still(_: &mut dyn Stream) -> io::Result<()> {
    loop {
        std::thread::park();
    }
}

fn large() -> Vec<Case> {
    vec![
        case(
            "an endless body",
            Receiver::new(|stream, _| {
                say(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
                let chunk = format!("2000\r\n{}\r\n", "x".repeat(0x2000));
                loop {
                    say(stream, &chunk)?;
                }
            }),
            cut(200),
        ),
        case(
            "an endless body without a length",
            Receiver::new(|stream, _| {
                say(stream, "HTTP/1.0 200 OK\r\n\r\n")?;
                loop {
                    stream.write_all(&[b'x'; 8192])?;
                }
            }),
            cut(200),
        ),
        case(
            "100 GB announced",
            Receiver::new(|stream, _| {
                say(stream, "HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\n")?;
                loop {
                    stream.write_all(&[b'x'; 8192])?;
                }
            }),
            cut(200),
        ),
        case(
            "1,000 headers",
            Receiver::new(|stream, _| {
                let headers: String = (0..1000).map(|number| format!("x-{number}: y\r\n")).collect();
                say(stream, &format!("HTTP/1.1 200 OK\r\n{headers}content-length: 0\r\n\r\n"))?;
                hold(stream)
            }),
            error("protocol", "message head is too large"),
        ),
        case(
            "a header of 10 MB",
            Receiver::new(|stream, _| {
                say(stream, "HTTP/1.1 200 OK\r\nx-a: ")?;
                for _ in 0..1280 {
                    stream.write_all(&[b'x'; 8192])?;
                }
                say(stream, "\r\ncontent-length: 0\r\n\r\n")?;
                hold(stream)
            }),
            error("protocol", "message head is too large"),
        ),
        case(
            "headers without end",
            Receiver::new(|stream, _| {
                say(stream, "HTTP/1.1 200 OK\r\n")?;
                loop {
                    say(stream, "x-filler: 0123456789012345678901234567890123456789\r\n")?;
                }
            }),
            error("protocol", "message head is too large"),
        ),
        case(
            "a gzip bomb",
            Receiver::new(|stream, _| {
                let bomb = bomb();
                let length = bomb.len();
                say(stream, &format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {length}\r\n\r\n"))?;
                stream.write_all(&bomb)
            }),
            Expect::Status { status: 200, cut: true, body: Some(bomb()) },
        ),
        case(
            "trailers without end",
            Receiver::new(|stream, _| {
                say(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n")?;
                loop {
                    say(stream, "x-filler: 0123456789012345678901234567890123456789\r\n")?;
                }
            }),
            late_error("protocol", "does not answer in valid HTTP, after status 200"),
        ),
        case(
            "a chunk extension without end",
            Receiver::new(|stream, _| {
                say(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;")?;
                loop {
                    stream.write_all(&[b'x'; 8192])?;
                }
            }),
            late_error("protocol", "does not answer in valid HTTP, after status 200"),
        ),
    ]
}

/// Makes 1 MiB of gzip that stands for 160 MiB of zeros: one zero, and references that repeat it 258 times each.
fn bomb() -> Vec<u8> {
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let (mut bits, mut filled) = (0_u32, 0);
    let mut push = |value: u32, count: u32| {
        bits |= value << filled;
        filled += count;
        while filled >= 8 {
            gzip.push((bits & 0xff) as u8);
            bits >>= 8;
            filled -= 8;
        }
    };
    // The last block, with the fixed codes of RFC 1951, whose bits are read from the highest.
    push(0b011, 3);
    push(0b0011_0000_u32.reverse_bits() >> 24, 8);
    for _ in 0..640_000 {
        push(0b1100_0101_u32.reverse_bits() >> 24, 8);
        push(0, 5);
    }
    gzip
}

fn interim() -> Vec<Case> {
    let flood = |name, receiver| Case {
        ended_by_deadline: true,
        ..case(name, receiver, error("timeout_total", "no answer had begun"))
    };
    vec![
        flood("a flood of 100", Receiver::new(|stream, _| repeat(stream, "HTTP/1.1 100 Continue\r\n\r\n"))),
        flood("a flood of 102", Receiver::new(|stream, _| repeat(stream, "HTTP/1.1 102 Processing\r\n\r\n"))),
        flood(
            "a flood of 103",
            Receiver::new(|stream, _| {
                repeat(stream, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n")
            }),
        ),
        flood("dripped 102", Receiver::new(|stream, _| drip(stream, b"HTTP/1.1 102 Processing\r\n\r\n"))),
        Case {
            ended_by_phase: true,
            ..case(
                "a flood of 103, with a deadline for the head",
                Receiver::new(|stream, _| repeat(stream, "HTTP/1.1 103 Early Hints\r\n\r\n")),
                error("timeout_first_byte", "did not begin to answer within 2s"),
            )
        },
        case(
            "interim responses before the answer",
            Receiver::new(|stream, _| {
                say(stream, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nx-a: 1\r\n\r\n")?;
                say(stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            }),
            body(200, b"ok"),
        ),
        case(
            "another protocol that nobody asked for",
            Receiver::new(|stream, _| {
                say(stream, "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello")?;
                hold(stream)
            }),
            status(101),
        ),
    ]
}

fn repeat(stream: &mut dyn Stream, text: &str) -> io::Result<()> {
    let many = text.repeat(100);
    loop {
        say(stream, &many)?;
    }
}

fn redirects() -> Vec<Case> {
    let once = |name, receiver, expect| Case { connections: Some(1), ..case(name, receiver, expect) };
    vec![
        once(
            "a redirect to itself",
            Receiver::new(|stream, path| {
                say(stream, &format!("HTTP/1.1 302 Found\r\nlocation: {path}\r\ncontent-length: 0\r\n\r\n"))
            }),
            status(302),
        ),
        once(
            "a redirect to the metadata of the machine",
            Receiver::new(|stream, _| {
                say(stream, "HTTP/1.1 307 Go\r\nlocation: http://169.254.169.254/latest\r\ncontent-length: 0\r\n\r\n")
            }),
            status(307),
        ),
        once(
            "a redirect that is no URL",
            Receiver::new(|stream, _| {
                say(stream, "HTTP/1.1 308 Go\r\nlocation: http://[\r\nrefresh: 0; url=/x\r\ncontent-length: 0\r\n\r\n")
            }),
            status(308),
        ),
    ]
}

fn resets() -> Vec<Case> {
    // A connection that is dropped with bytes that nobody has read is reset.
    vec![
        case("a reset at once", Receiver::raw(|stream| stream.socket().peek(&mut [0]).map(drop)), error("closed", "")),
        case("an end without an answer", Receiver::new(|_, _| Ok(())), error("closed", "closed the connection")),
        case(
            "a reset in the head",
            Receiver::raw(|stream| {
                stream.socket().peek(&mut [0])?;
                say(stream, "HTTP/1.1 200 OK\r\ncontent-le")
            }),
            error("closed", "closed the connection"),
        ),
        case(
            "an end in the head",
            Receiver::new(|stream, _| {
                say(stream, "HTTP/1.1 200 OK\r\ncontent-le")?;
                finish(stream)
            }),
            error("closed", "closed the connection"),
        ),
        case(
            "an end in the body",
            Receiver::new(|stream, _| {
                say(stream, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")?;
                finish(stream)
            }),
            late_error("closed", "closed the connection, after status 200"),
        ),
        case(
            "an end in a chunk",
            Receiver::new(|stream, _| {
                say(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\nhalf")?;
                finish(stream)
            }),
            late_error("closed", "closed the connection, after status 200"),
        ),
        case(
            "an end before the last chunk",
            Receiver::new(|stream, _| {
                say(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")?;
                finish(stream)
            }),
            late_error("closed", "closed the connection, after status 200"),
        ),
    ]
}

/// Ends its side and waits for the client's end, so that nothing is reset.
fn finish(stream: &mut dyn Stream) -> io::Result<()> {
    stream.socket().shutdown(std::net::Shutdown::Write)?;
    hold(stream)
}

fn tls() -> Vec<Case> {
    let answer = |stream: &mut dyn Stream, _: &str| say(stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let stalled = |name, receiver| Case {
        ended_by_phase: true,
        ..case(name, receiver, error("timeout_tls", "the TLS handshake took longer than 2s"))
    };
    vec![
        case("a good certificate", Receiver::tls(Certificate::Good, answer), status(200)),
        case(
            "a certificate for another name",
            Receiver::tls(Certificate::WrongName, answer),
            error("tls", "its certificate is for another name"),
        ),
        case(
            "an expired certificate",
            Receiver::tls(Certificate::Expired, answer),
            error("tls", "its certificate has expired"),
        ),
        case(
            "a certificate of the future",
            Receiver::tls(Certificate::NotYet, answer),
            error("tls", "its certificate is not valid yet"),
        ),
        case(
            "a certificate of a stranger",
            Receiver::tls(Certificate::Stranger, answer),
            error("tls", "signed by nobody who is trusted here"),
        ),
        case(
            "no TLS at all",
            Receiver::not_tls(|stream| {
                say(stream, "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")?;
                hold(stream)
            }),
            error("tls", "it does not speak TLS at that port"),
        ),
        case(
            "an end in the handshake",
            Receiver::not_tls(|stream| {
                stream.read_exact(&mut [0; 5])?;
                say(stream, "\x16\x03\x03\x01\x00")
            }),
            error("tls", ""),
        ),
        stalled("a handshake that never begins", Receiver::not_tls(hold)),
        stalled(
            "a handshake that drips",
            Receiver::not_tls(|stream| {
                say(stream, "\x16\x03\x03\x3f\x00\x02\x00\x3e\x00\x03\x03")?;
                drip(stream, &[0])
            }),
        ),
        Case {
            ended_by_deadline: true,
            ..case(
                "a handshake that never begins, with a deadline for the whole",
                Receiver::not_tls(hold),
                error("timeout_total", "the TLS handshake was not over"),
            )
        },
    ]
}

fn heads() -> Vec<Case> {
    let broken = |name, answer| case(name, Receiver::new(answer), error("protocol", "does not answer in valid HTTP"));
    vec![
        broken("another protocol", |stream, _| say(stream, "SSH-2.0-OpenSSH_9.6\r\n")),
        broken("HTTP/0.9", |stream, _| say(stream, "<html>hello</html>\n")),
        broken("a version of the future", |stream, _| say(stream, "HTTP/9.9 200 OK\r\ncontent-length: 0\r\n\r\n")),
        broken("HTTP/2 without being asked", |stream, _| say(stream, "\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64")),
        broken("status 1000", |stream, _| say(stream, "HTTP/1.1 1000 Big\r\ncontent-length: 0\r\n\r\n")),
        broken("status 0", |stream, _| say(stream, "HTTP/1.1 0 None\r\ncontent-length: 0\r\n\r\n")),
        broken("status 000", |stream, _| say(stream, "HTTP/1.1 000 None\r\ncontent-length: 0\r\n\r\n")),
        broken("status 99", |stream, _| say(stream, "HTTP/1.1 099 Low\r\ncontent-length: 0\r\n\r\n")),
        broken("a status in letters", |stream, _| say(stream, "HTTP/1.1 two OK\r\ncontent-length: 0\r\n\r\n")),
        broken("a negative status", |stream, _| say(stream, "HTTP/1.1 -20 OK\r\ncontent-length: 0\r\n\r\n")),
        case(
            "status 999",
            Receiver::new(|stream, _| say(stream, "HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n")),
            status(999),
        ),
        broken("a zero in a header's name", |stream, _| say(stream, "HTTP/1.1 200 OK\r\nx\0y: 1\r\n\r\n")),
        broken("a zero in a header's value", |stream, _| say(stream, "HTTP/1.1 200 OK\r\nx-a: \0\r\n\r\n")),
        broken("an escape in a header's value", |stream, _| say(stream, "HTTP/1.1 200 OK\r\nx-a: \x1b[2J\r\n\r\n")),
        broken("a header without a colon", |stream, _| say(stream, "HTTP/1.1 200 OK\r\nx-a\r\n\r\n")),
        broken("a header without a name", |stream, _| say(stream, "HTTP/1.1 200 OK\r\n: 1\r\n\r\n")),
        broken("a space before the colon", |stream, _| say(stream, "HTTP/1.1 200 OK\r\nx-a : 1\r\n\r\n")),
        broken("a header over two lines", |stream, _| say(stream, "HTTP/1.1 200 OK\r\nx-a: 1\r\n 2\r\n\r\n")),
    ]
}

fn bodies() -> Vec<Case> {
    let broken = |name, answer| case(name, Receiver::new(answer), error("protocol", "does not answer in valid HTTP"));
    let broken_later = |name, answer| {
        case(name, Receiver::new(answer), late_error("protocol", "does not answer in valid HTTP, after status 200"))
    };
    vec![
        broken("two lengths", |stream, _| {
            say(stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 5\r\n\r\nhello")
        }),
        broken("two lengths in one header", |stream, _| {
            say(stream, "HTTP/1.1 200 OK\r\ncontent-length: 2, 5\r\n\r\nhello")
        }),
        broken("a negative length", |stream, _| say(stream, "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n")),
        broken("a length with a sign", |stream, _| say(stream, "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok")),
        broken("a length without end", |stream, _| {
            say(stream, "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\nok")
        }),
        broken_later("a chunk size that is no number", |stream, _| {
            say(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
        }),
        broken_later("a chunk size without end", |stream, _| {
            say(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffffff\r\nx")
        }),
        broken_later("a chunk longer than its size", |stream, _| {
            say(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n")
        }),
        case(
            "a body where none can be",
            Receiver::new(|stream, _| say(stream, "HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok")),
            body(204, b""),
        ),
    ]
}

fn connections() -> Vec<Case> {
    vec![
        Case {
            again: true,
            connections: Some(2),
            ..case(
                "more than was announced",
                Receiver::new(|stream, _| say(stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok, and more")),
                body(200, b"ok"),
            )
        },
        Case {
            again: true,
            connections: Some(2),
            ..case(
                "an answer to a request that was not made",
                Receiver::new(|stream, _| {
                    // In one piece, so that the second answer is there before the client asks again.
                    say(
                        stream,
                        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok\
                         HTTP/1.1 500 Not yours\r\ncontent-length: 3\r\n\r\nbad",
                    )?;
                    hold(stream)
                }),
                body(200, b"ok"),
            )
        },
        Case {
            body_bytes: 4 << 20,
            ..case(
                "an answer before the request has ended",
                Receiver::new(|stream, _| {
                    say(stream, "HTTP/1.1 413 Too much\r\ncontent-length: 0\r\n\r\n")?;
                    hold(stream)
                }),
                status(413),
            )
        },
        Case {
            again: true,
            connections: Some(2),
            ..case(
                "an answer and the end of the connection",
                Receiver::new(|stream, _| {
                    say(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")?;
                    finish(stream)
                }),
                body(200, b"ok"),
            )
        },
    ]
}
