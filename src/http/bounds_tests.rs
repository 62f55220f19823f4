//! What the door bears: bodies, connections and what is under way are bounded, and who is slow or large hurts himself only.

use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::tests::{PUSH, github, server};
use super::*;

/// A body that fails the test when it is read.
fn unread() -> Body {
    Body::from_stream(stream::poll_fn(|_| -> std::task::Poll<Option<std::io::Result<Bytes>>> {
        panic!("the body was read")
    }))
}

#[tokio::test]
async fn a_body_over_the_cap_is_413_before_it_is_read() {
    let server = server();
    let mut request = github("push", "1", "after", PUSH);
    request.headers_mut().insert("content-length", "1025".parse().unwrap());
    *request.body_mut() = unread();
    assert_eq!(server.send(request).await.0, 413);
    let mut request = github("push", "1", "after", PUSH);
    request.headers_mut().remove("x-hub-signature-256");
    *request.body_mut() = unread();
    assert_eq!(server.send(request).await.0, 401, "nor is one without a proof");
    let mut request = github("push", "1", "after", PUSH);
    request.headers_mut().remove("content-length");
    let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 100])));
    *request.body_mut() = Body::from_stream(endless);
    assert_eq!(server.send(request).await.0, 413, "a chunked body is cut where the cap is");
    assert_eq!(server.outcome().name(), "too_large");
}

#[tokio::test]
async fn under_load_hooks_are_told_to_come_again() {
    let server = server();
    let all = server.state.in_flight.try_acquire_many(IN_FLIGHT_KIB.try_into().unwrap()).unwrap();
    let (status, _, headers) = server.send(github("push", "1", "after", PUSH)).await;
    assert_eq!((status, headers["retry-after"].as_bytes()), (503, &b"5"[..]));
    drop(all);
    assert_eq!(server.send(github("push", "1", "after", PUSH)).await.0, 202, "a shed delivery was not noted");
}

#[tokio::test]
async fn a_connection_is_served_bounded_and_closed() {
    let server = server();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(listener, server.state.clone(), stop.clone()));
    let ask = async |text: String| {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.ok();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "the connection is closed");
        String::from_utf8_lossy(&answer).into_owned()
    };
    let head = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    assert!(ask(format!("{head}\r\n")).await.starts_with("HTTP/1.1 200"));
    let large = ask(format!("{head}x: {}\r\n\r\n", "y".repeat(300_000))).await;
    assert!(large.starts_with("HTTP/1.1 431"), "{large}");
    let deliveries = head.replace("/healthz", "/api/v1/deliveries");
    assert!(ask(format!("{deliveries}\r\n")).await.starts_with("HTTP/1.1 200"));
    let announced = "POST /hooks/hub HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n".to_owned();
    assert!(ask(announced).await.starts_with("HTTP/1.1 413"));
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), task).await.expect("the server ends").unwrap();
}

#[tokio::test]
async fn who_is_slow_gives_way_to_who_is_quick() {
    const MOST: usize = 8;
    let server = server();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(connections::serve_at_most(MOST, listener, server.state.clone(), stop.clone()));
    let connect = async || tokio::net::TcpStream::connect(address).await.unwrap();
    let mut kept = connect().await;
    let mut ask = async || {
        kept.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 512];
        let read = tokio::time::timeout(Duration::from_secs(5), kept.read(&mut answer)).await;
        assert!(answer[..read.expect("in time").unwrap()].starts_with(b"HTTP/1.1 200"));
    };
    ask().await;
    // Three times as many as there are places, and the first ones are cut off for the later ones.
    let mut slow = Vec::new();
    for _ in 0..3 * MOST {
        let mut stream = connect().await;
        stream.write_all(b"POST /hooks/hub HTTP/1.1\r\nhost").await.unwrap();
        slow.push(stream);
        ask().await;
    }
    let (mut first, last) = (slow.remove(0), slow.pop().unwrap());
    let ended = tokio::time::timeout(Duration::from_secs(5), first.read(&mut [0])).await;
    assert!(matches!(ended, Ok(Ok(0) | Err(_))), "it is cut off");
    let open = last.try_read(&mut [0]).expect_err("nothing came");
    assert_eq!(open.kind(), std::io::ErrorKind::WouldBlock);
    drop((slow, last, kept));
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), task).await.expect("the server ends").unwrap();
}

#[tokio::test]
async fn a_body_that_is_announced_and_does_not_come_takes_nothing_from_others() {
    let server = server();
    let few = u32::try_from(IN_FLIGHT_KIB - 2).unwrap();
    let _others = server.state.in_flight.try_acquire_many(few).unwrap();
    let never = || {
        let mut request = github("push", "1", "after", PUSH);
        request.headers_mut().insert("content-length", "1024".parse().unwrap());
        *request.body_mut() = Body::from_stream(stream::pending::<std::io::Result<Bytes>>());
        Box::pin(router(server.state.clone()).oneshot(request))
    };
    let mut waiting: Vec<_> = (0..10).map(|_| never()).collect();
    for request in &mut waiting {
        assert!(futures::FutureExt::now_or_never(request).is_none());
    }
    assert_eq!(server.send(github("push", "2", "after", PUSH)).await.0, 202);
}
