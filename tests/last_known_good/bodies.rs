//! The recording of bodies while callers read them.

use super::*;

// ===== bodies =====

#[tokio::test(start_paused = true)]
async fn a_body_is_not_delayed() {
    let (upstream, service) = service(&layer());
    let (sender, body) = streamed();
    upstream.will(with(200, &[], body));
    let mut body = ask(&service, get()).await.unwrap().into_body();
    sender.send(Ok("first ")).unwrap();
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "first ");
    let mut second = tokio_test::task::spawn(body.frame());
    assert!(second.poll().is_pending(), "the second is not made yet");
    drop(second);
    sender.send(Ok("second")).unwrap();
    drop(sender);
    assert_eq!(body.collect().await.unwrap().to_bytes(), "second");
    assert_eq!(read(ask(&service, get()).await.unwrap()).await, "first second");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_dropped_half_way_is_not_stored() {
    let both = service(&layer());
    give(&both, get(), good(&[])).await;
    let (sender, body) = streamed();
    both.0.will(with(200, &[], body));
    sender.send(Ok("bet")).unwrap();
    let mut body = ask(&both.1, get()).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(stale(&both, get()).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_is_not_stored_and_its_error_reaches_the_caller() {
    let both = service(&layer());
    let (sender, body) = streamed();
    both.0.will(with(200, &[], body));
    sender.send(Ok("half")).unwrap();
    sender.send(Err(io::ErrorKind::ConnectionReset.into())).unwrap();
    let broken: Result<_, BoxError> = ask(&both.1, get()).await.unwrap().into_body().collect().await;
    let kind = broken.unwrap_err().downcast::<io::Error>().unwrap().kind();
    assert_eq!(kind, io::ErrorKind::ConnectionReset);
    assert!(stale(&both, get()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_unread_body_is_not_stored() {
    let both = service(&layer());
    both.0.will(good(&[]));
    drop(ask(&both.1, get()).await.unwrap());
    assert!(stale(&both, get()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_reaches_the_caller_whole_and_is_not_stored() {
    let layer = layer_with(|it| it.max_entry_bytes(10));
    for (length, stored) in [(10, true), (11, false)] {
        let both = service(&layer);
        let uri = format!("http://sku.internal/{length}");
        let request = || Request::get(&uri).body(String::new()).unwrap();
        let (sender, body) = streamed();
        both.0.will(with(200, &[], body));
        (0..length).for_each(|_| sender.send(Ok("x")).unwrap());
        drop(sender);
        assert_eq!(read(ask(&both.1, request()).await.unwrap()).await.len(), length);
        assert_eq!(stale(&both, request()).await.map(|body| body.len()), stored.then_some(length));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_body_states_its_length() {
    let both = service(&layer());
    give(&both, get(), good(&[])).await;
    let body = ask(&both.1, get()).await.unwrap().into_body();
    assert_eq!(body.size_hint().exact(), Some(4));
    assert!(!body.is_end_stream());
}

// ===== Memory =====

#[test]
fn a_body_in_tiny_pieces_takes_about_its_bytes() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (piece, pieces) in [("", 500_000), ("x", 1 << 19)] {
        let layer = LastKnownGoodLayer::new(LastKnownGood::default());
        let service = layer.layer(tower::service_fn(move |_: Request<String>| async move {
            let frame = move |_| Ok::<_, BoxError>(Frame::data(Bytes::from_static(piece.as_bytes())));
            Ok::<_, Error<io::Error>>(Response::new(StreamBody::new(futures_util::stream::iter(
                (0..pieces).map(frame),
            ))))
        }));
        let most = allocation_counter::measure(|| {
            runtime.block_on(async {
                let mut body = service.oneshot(get()).await.unwrap().into_body();
                while let Some(frame) = body.frame().await {
                    frame.unwrap();
                }
            });
        });
        assert!(most.bytes_max < 4 << 20, "{} bytes for pieces of {piece:?}", most.bytes_max);
    }
}
