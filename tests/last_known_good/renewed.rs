//! Answers that repeat the stored entry, exactly or nearly.

use super::*;

/// A call whose response has a head, while the test has yet to send the body.
struct Unread {
    sender: mpsc::UnboundedSender<io::Result<&'static str>>,
    response: Given,
}

async fn unread(both: &(Upstream, Layered), headers: &[(&str, &str)]) -> Unread {
    let (sender, body) = streamed();
    both.0.will(with(200, headers, body));
    Unread { sender, response: ask(&both.1, get()).await.unwrap() }
}

impl Unread {
    async fn read(self, body: &'static str) {
        self.sender.send(Ok(body)).unwrap();
        drop(self.sender);
        assert_eq!(read(self.response).await, body);
    }
}

async fn stale_age(both: &(Upstream, Layered)) -> Duration {
    ask(&both.1, get()).await.unwrap().extensions().get::<Stale>().unwrap().age
}

// ===== Differences that replace the entry =====

#[tokio::test(start_paused = true)]
async fn a_body_that_differs_anywhere_replaces_the_entry() {
    let stored = "0123456789";
    let pieces: [&[&str]; 9] = [
        &["0123456789"],
        &["01234", "", "56789"],
        &["01234"],
        &["0123456789", "0"],
        &["01234567890"],
        &["012345678x"],
        &["x123456789"],
        &["01234", "x6", "789"],
        &[],
    ];
    for pieces in pieces {
        let both = service(&layer());
        give(&both, get(), answer(200, &[], stored)).await;
        let (sender, body) = streamed();
        for piece in pieces {
            sender.send(Ok(piece)).unwrap();
        }
        drop(sender);
        give(&both, get(), with(200, &[], body)).await;
        assert_eq!(stale(&both, get()).await.unwrap(), pieces.concat());
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_differs_replaces_the_entry() {
    let both = service(&layer());
    let dated = |date| [("date", date), ("x-a", "1"), ("x-b", "2")];
    give(&both, get(), good(&dated("Thu, 01 Jan 2026 00:00:00 GMT"))).await;
    let later = "Thu, 01 Jan 2026 00:00:01 GMT";
    for headers in [&dated(later)[..], &dated(later)[..2], &[("x-b", "2"), ("x-a", "1")], &[]] {
        advance(MINUTE).await;
        give(&both, get(), good(headers)).await;
        assert_eq!(stale_age(&both).await, Duration::ZERO);
        let response = ask(&both.1, get()).await.unwrap();
        let served = response.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
        let mut served: Vec<_> = served.filter(|(name, _)| !["age", "cache-status"].contains(name)).collect();
        let mut given = headers.to_vec();
        served.sort_unstable();
        given.sort_unstable();
        assert_eq!(served, given);
    }
    give(&both, get(), answer(203, &[], "good")).await;
    assert_eq!(ask(&both.1, get()).await.unwrap().status(), 203);
}

#[tokio::test(start_paused = true)]
async fn answers_that_differ_only_in_an_id_are_stored_once_per_interval() {
    let both = service(&layer());
    let mut stored = Vec::new();
    for id in ["0", "5", "10", "15", "20"] {
        give(&both, get(), good(&[("x-request-id", id)])).await;
        let response = ask(&both.1, get()).await.unwrap();
        let age = response.extensions().get::<Stale>().unwrap().age;
        // The id and the age belong to the same answer.
        stored.push((response.headers()["x-request-id"].to_str().unwrap().to_owned(), age.as_secs()));
        advance(5 * SECOND).await;
    }
    let expected = [("0", 0), ("0", 5), ("10", 0), ("10", 5), ("20", 0)];
    assert!(stored.iter().map(|(id, age)| (id.as_str(), *age)).eq(expected), "{stored:?}");
    // An answer with another body or other caching rules replaces the entry at once.
    give(&both, get(), answer(200, &[("x-request-id", "21")], "better")).await;
    assert_eq!(stale(&both, get()).await.unwrap(), "better");
    give(&both, get(), answer(200, &[("cache-control", "stale-if-error=1")], "better")).await;
    advance(SECOND).await;
    assert!(stale(&both, get()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_header_that_becomes_hop_by_hop_is_no_longer_stored() {
    let both = service(&layer());
    give(&both, get(), good(&[("x-hop", "1")])).await;
    assert!(ask(&both.1, get()).await.unwrap().headers().contains_key("x-hop"));
    advance(MINUTE).await;
    give(&both, get(), good(&[("x-hop", "1"), ("connection", "x-hop")])).await;
    assert!(!ask(&both.1, get()).await.unwrap().headers().contains_key("x-hop"));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_sensitive_flag_replaces_the_entry() {
    let both = service(&layer());
    for is_secret in [false, true, false] {
        advance(MINUTE).await;
        let mut answer = good(&[("x-token", "1")]);
        answer.headers_mut().get_mut("x-token").unwrap().set_sensitive(is_secret);
        give(&both, get(), answer).await;
        assert_eq!(ask(&both.1, get()).await.unwrap().headers()["x-token"].is_sensitive(), is_secret);
    }
}

#[tokio::test(start_paused = true)]
async fn an_equal_answer_to_another_variant_is_an_entry_of_its_own() {
    let both = service(&layer());
    let of = |tenant| request("GET", &[("x-tenant", tenant)]);
    give(&both, of("a"), good(&[("vary", "x-tenant")])).await;
    assert!(stale(&both, of("b")).await.is_none());
    give(&both, of("b"), good(&[("vary", "x-tenant")])).await;
    assert!(stale(&both, of("a")).await.is_some());
    assert!(stale(&both, of("b")).await.is_some());
}

// ===== Changes while the body is read =====

#[tokio::test(start_paused = true)]
async fn an_answer_is_as_old_as_its_head_and_never_gets_older() {
    let both = service(&layer());
    give(&both, get(), good(&[])).await;
    advance(MINUTE).await;
    let first = unread(&both, &[]).await;
    advance(SECOND).await;
    let second = unread(&both, &[]).await;
    advance(SECOND).await;
    second.read("good").await;
    assert_eq!(stale_age(&both).await, SECOND);
    first.read("good").await;
    assert_eq!(stale_age(&both).await, SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_removed_entry_is_not_restored_by_an_equal_earlier_answer() {
    for remove in ["GET", "DELETE"] {
        let both = service(&layer());
        give(&both, get(), good(&[])).await;
        let (before, also_before) = (unread(&both, &[]).await, unread(&both, &[]).await);
        let status = if remove == "GET" { 404 } else { 204 };
        give(&both, request(remove, &[]), answer(status, &[], "")).await;
        before.read("good").await;
        assert!(stale(&both, get()).await.is_none(), "{remove}");
        // The answer to a call made after the removal is stored, and stays.
        unread(&both, &[]).await.read("good").await;
        also_before.read("good").await;
        assert!(stale(&both, get()).await.is_some(), "{remove}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_of_overlapping_answers_stays() {
    for same_is_last in [true, false] {
        for same_ends_last in [true, false] {
            let both = service(&layer());
            give(&both, get(), good(&[])).await;
            advance(SECOND).await;
            let first = unread(&both, &[]).await;
            advance(SECOND).await;
            let second = unread(&both, &[]).await;
            let (same, other) = if same_is_last { (second, first) } else { (first, second) };
            if same_ends_last {
                other.read("better").await;
                same.read("good").await;
            } else {
                same.read("good").await;
                other.read("better").await;
            }
            let last = if same_is_last { "good" } else { "better" };
            assert_eq!(stale(&both, get()).await.unwrap(), last, "{same_is_last} {same_ends_last}");
            assert_eq!(stale_age(&both).await, Duration::ZERO);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_evicted_during_an_equal_answer_is_stored_again() {
    let cache = LastKnownGood::builder().max_bytes(8 * 1024).build().unwrap();
    let both = service(&LastKnownGoodLayer::new(cache.clone()));
    give(&both, get(), good(&[])).await;
    let same = unread(&both, &[]).await;
    for key in 0..20 {
        let other = Request::get(format!("http://sku.internal/{key}")).body(String::new()).unwrap();
        give(&both, other, with(200, &[], full(vec![b'x'; 1024]))).await;
    }
    assert!(stale(&both, get()).await.is_none(), "it is evicted");
    same.read("good").await;
    assert_eq!(stale(&both, get()).await.unwrap(), "good");
    assert!(cache.bytes() <= 8 * 1024, "{} bytes", cache.bytes());
}

#[tokio::test(start_paused = true)]
async fn an_older_answer_with_another_vary_does_not_replace_a_newer_one() {
    let both = service(&layer());
    let (sender, body) = streamed();
    both.0.will(with(200, &[("vary", "accept-language")], body));
    let older = ask(&both.1, get()).await.unwrap();
    advance(SECOND).await;
    give(&both, get(), answer(200, &[], "newer")).await;
    sender.send(Ok("older")).unwrap();
    drop(sender);
    read(older).await;
    assert_eq!(stale(&both, get()).await.unwrap(), "newer");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_answer_does_not_move_its_expiry_date() {
    let both = service(&layer());
    let at = |date| {
        let expires = ("expires", "Thu, 01 Jan 2026 00:01:00 GMT");
        good(&[("date", date), expires, ("cache-control", "must-revalidate")])
    };
    give(&both, get(), at("Thu, 01 Jan 2026 00:00:00 GMT")).await;
    advance(ALMOST_A_MINUTE).await;
    give(&both, get(), at("Thu, 01 Jan 2026 00:00:59 GMT")).await;
    advance(2 * SECOND).await;
    assert_eq!(stale(&both, get()).await, None, "it has expired, and must be revalidated");
}
