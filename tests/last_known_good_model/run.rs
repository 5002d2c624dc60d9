//! Runs the cache and its model side by side.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::Request;
use http_body_util::BodyExt as _;
use steadfast::last_known_good::{Cause, LastKnownGood, LastKnownGoodLayer, ResponseBody};
use steadfast::{CallOptions, Error};
use tokio::sync::oneshot;
use tower::{Layer as _, Service as _};

use crate::chance::{CALLERS, Chance, Content, MAX_BODY, Reading, Reply, USER_IN_URI};
use crate::heads::{Line, RequestHead, SELECTING, cache_control, header_map};
use crate::model::{CallStart, Entry, Expected, Model, RESOURCES};
use crate::observed::{Answer, Observed, error_of, expected_stale, lines, observe, to_answer};
use crate::support::TestBody;

const MAX_AGE: i64 = 3600 * 1000;

type CallResult = Result<http::Response<ResponseBody<TestBody>>, Error<io::Error>>;
type CallFuture = Pin<Box<dyn Future<Output = CallResult>>>;
type Upstream = tower::util::BoxCloneService<Request<String>, http::Response<TestBody>, Error<io::Error>>;

/// A run with one seed.
pub(crate) struct Run {
    seed: u64,
    chance: Chance,
    model: Model,
    cache: LastKnownGood,
    service: steadfast::last_known_good::LastKnownGoodService<Upstream>,
    /// The channel for the answer to the next call.
    next: Arc<Mutex<Option<oneshot::Receiver<Answer>>>>,
    in_flight: Vec<InFlight>,
    trace: VecDeque<String>,
    served: usize,
}

/// A call under way.
#[allow(clippy::large_enum_variant)] // Only a few values exist at a time.
enum InFlight {
    AwaitingHead(Call),
    ReadingBody {
        start: CallStart,
        response: http::Response<ResponseBody<TestBody>>,
        entry: Option<Entry>,
        content: Content,
    },
}

struct Call {
    start: CallStart,
    future: CallFuture,
    answer: oneshot::Sender<Answer>,
}

impl Run {
    pub(crate) fn new(seed: u64) -> Self {
        let cache = LastKnownGood::builder()
            .max_age(Duration::from_millis(MAX_AGE as u64))
            .max_entry_bytes(MAX_BODY)
            .private_header(http::HeaderName::from_static("x-user"))
            .serve_stale_on(|cause| cause != Cause::BulkheadFull)
            // Each answer is stored, however little differs from the entry.
            .renew_after(Duration::ZERO)
            .seed(1)
            .build()
            .unwrap();
        let next = Arc::new(Mutex::new(None::<oneshot::Receiver<Answer>>));
        let source = Arc::clone(&next);
        let upstream = tower::service_fn(move |_: Request<String>| {
            let answer = source.lock().unwrap().take().expect("each call has an answer");
            async move { answer.await.expect("a call that is not dropped is answered") }
        });
        let upstream = tower::util::BoxCloneService::new(upstream);
        Self {
            seed,
            chance: Chance::new(seed),
            model: Model::new(MAX_AGE),
            service: LastKnownGoodLayer::new(cache.clone()).layer(upstream),
            cache,
            next,
            in_flight: Vec::new(),
            trace: VecDeque::new(),
            served: 0,
        }
    }

    /// Takes `steps` steps. Returns the number of stale responses.
    pub(crate) async fn steps(mut self, steps: usize) -> usize {
        for step in 0..steps {
            self.log(&format!("== step {step} at {} ms", self.model.now));
            self.step().await;
            if step % 8 == 0 {
                self.compare_entries();
            }
        }
        self.served
    }

    async fn step(&mut self) {
        match self.chance.below(100) {
            0..55 => {
                let call = self.begin();
                if let Some(reading) = self.answer(call, false).await {
                    self.read_body(reading).await;
                }
            }
            55..63 if self.in_flight.len() < 6 => {
                let call = self.begin();
                self.in_flight.push(InFlight::AwaitingHead(call));
            }
            55..78 if !self.in_flight.is_empty() => self.advance_call().await,
            78..82 => self.insert().await,
            82..84 => {
                let head = self.chance.request_head();
                self.log(&format!("invalidate {}", head.resource));
                self.model.invalidate(head.resource);
                let request = self.http_request(&head);
                self.cache.invalidate(&request).await;
            }
            _ => {
                let time = self.chance.time();
                self.model.now += time;
                tokio::time::advance(Duration::from_millis(time.unsigned_abs())).await;
            }
        }
    }

    /// Advances or drops one of the calls under way.
    async fn advance_call(&mut self) {
        let at = self.chance.below(self.in_flight.len());
        match self.in_flight.swap_remove(at) {
            InFlight::AwaitingHead(call) => {
                if self.chance.below(10) == 0 {
                    self.log(&format!("dropped: {:?}", call.start));
                    return;
                }
                let reading = self.answer(call, true).await;
                self.in_flight.extend(reading);
            }
            call @ InFlight::ReadingBody { .. } => self.read_body(call).await,
        }
    }

    fn begin(&mut self) -> Call {
        let head = self.chance.request_head();
        self.log(&format!("begin {head:?}"));
        let request = self.http_request(&head);
        let start = self.model.begin(head);
        let (answer, receiver) = oneshot::channel();
        *self.next.lock().unwrap() = Some(receiver);
        let mut future: CallFuture = Box::pin(self.service.call(request));
        assert!((&mut future).now_or_never().is_none());
        Call { start, future, answer }
    }

    /// Lets the upstream answer or fail. Returns the call if its body is still to be read.
    async fn answer(&mut self, call: Call, may_overlap: bool) -> Option<InFlight> {
        let Call { start, future, answer } = call;
        let reply = self.chance.reply(&start.request, self.model.now, may_overlap);
        self.log(&format!("  {reply:?} to {start:?}"));
        let (response, failed) = match &reply {
            Reply::Answer(response, _) => (Some(response), Some(response.status).filter(|it| *it >= 500)),
            Reply::Fault(_) => (None, None),
        };
        let cause = match reply {
            Reply::Fault(cause) => Some(cause),
            Reply::Answer(..) => failed.map(|it| Cause::Status(it.try_into().unwrap())),
        };
        let serves_stale = cause.is_some_and(|it| it != Cause::BulkheadFull);
        let states_length = matches!(&reply, Reply::Answer(_, content) if content.states_length);
        let expected = self.model.answer(&start, response, states_length, serves_stale);
        assert!(answer.send(to_answer(&reply)).is_ok());
        match (expected, future.await, reply) {
            (Expected::Stale(entry), Ok(received), _) => {
                self.served += 1;
                let cause = cause.expect("nothing is stale but for a cause");
                self.compare(&observe(&received), &expected_stale(&entry, cause, self.model.now));
                let body = received.into_body().collect().await.unwrap().to_bytes();
                self.compare(&body, &Bytes::from(entry.body));
                None
            }
            (Expected::Fresh(entry), Ok(received), Reply::Answer(response, content)) => {
                let headers = lines(&header_map(&response.headers));
                self.compare(
                    &observe(&received),
                    &Observed { stale: None, status: response.status, headers },
                );
                // An answer without a body is whole before the caller reads.
                let entry =
                    self.store_if_whole(content.is_whole_after(Reading::Nothing), &start, entry, &content);
                Some(InFlight::ReadingBody { start, response: received, entry, content })
            }
            (Expected::Fresh(_), Err(error), Reply::Fault(cause)) => {
                self.compare(&format!("{error:?}"), &format!("{:?}", error_of(cause)));
                None
            }
            (Expected::Stale(entry), Err(error), _) => self.diverged(&error, &entry),
            (Expected::Fresh(_), received, reply) => self.diverged(&received.map(|it| observe(&it)), &reply),
        }
    }

    /// Lets the caller read the body, a part of the body, or nothing.
    async fn read_body(&mut self, call: InFlight) {
        let InFlight::ReadingBody { start, response, entry, content } = call else { return };
        let reading = self.chance.reading();
        self.log(&format!("  reads {reading:?} of {content:?} to {start:?}"));
        let mut body = response.into_body();
        match reading {
            Reading::Nothing => {}
            Reading::OneFrame => drop(body.frame().await),
            Reading::Whole => {
                let mut read = Vec::new();
                let mut is_broken = false;
                while let Some(frame) = body.frame().await {
                    match frame {
                        Ok(frame) => read.extend(frame.into_data().unwrap()),
                        Err(_) => is_broken = true,
                    }
                }
                let whole = content.pieces[..content.breaks_after.unwrap_or(content.pieces.len())].concat();
                self.compare(&(read, is_broken), &(whole.into_bytes(), content.breaks_after.is_some()));
            }
        }
        self.store_if_whole(content.is_whole_after(reading), &start, entry, &content);
    }

    /// Stores the entry in the model if the body is whole and fits. Returns an entry that still waits for its body.
    fn store_if_whole(
        &mut self,
        is_whole: bool,
        start: &CallStart,
        entry: Option<Entry>,
        content: &Content,
    ) -> Option<Entry> {
        let entry = entry.filter(|_| content.text().len() <= MAX_BODY)?;
        if !is_whole {
            return Some(entry);
        }
        self.model.store(start, entry.with_body(content.text()));
        None
    }

    async fn insert(&mut self) {
        let head = self.chance.request_head();
        let Reply::Answer(response, content) = self.chance.reply(&head, self.model.now, true) else {
            return;
        };
        self.log(&format!("insert {response:?} {content:?} for {head:?}"));
        let request = self.http_request(&head);
        let text = content.text();
        let mut inserted = http::Response::new(Bytes::from(text.clone()));
        *inserted.status_mut() = response.status.try_into().unwrap();
        *inserted.headers_mut() = header_map(&response.headers);
        let expected = if text.len() <= MAX_BODY { self.model.insert(head, &response, &text) } else { None };
        let result = self.cache.insert(&request, inserted).await;
        self.compare(&result.is_ok(), &expected.is_some());
    }

    fn http_request(&mut self, head: &RequestHead) -> Request<String> {
        let resource = &RESOURCES[head.resource];
        let mut uri = resource.spellings[self.chance.below(2)].to_owned();
        if head.caller == USER_IN_URI {
            uri = uri.replacen("://", "://alice:secret@", 1);
        }
        let mut lines: Vec<Line> = Vec::new();
        lines.extend(resource.host.map(|host| ("host", host.to_owned())));
        lines.extend(CALLERS[head.caller].iter().map(|(name, value)| (*name, (*value).to_owned())));
        for (name, values) in SELECTING.iter().zip(head.selecting) {
            lines.extend(values.iter().map(|value| (*name, (*value).to_owned())));
        }
        lines.extend(head.has_range.then(|| ("range", "bytes=0-1".to_owned())));
        lines.extend(cache_control(&head.cache_control, &mut self.chance.rng));
        // The order of names is irrelevant, but the order of lines with one name matters.
        let mut names: Vec<_> = lines.iter().map(|(name, _)| *name).collect();
        names.dedup();
        self.chance.shuffle(&mut names);
        lines.sort_by_key(|(name, _)| names.iter().position(|it| it == name));
        let mut request = Request::builder().method(head.method).uri(uri).body(String::new()).unwrap();
        *request.headers_mut() = header_map(&lines);
        if !head.serves_stale {
            request.extensions_mut().insert(CallOptions::new().without_last_known_good());
        }
        request
    }

    /// Compares the listed entries with the model's.
    fn compare_entries(&self) {
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap();
        let mut listed: Vec<_> = self.cache.entries();
        listed.sort_by_key(|it| (it.uri.clone(), it.method.to_string(), it.age, it.bytes, it.status));
        let mut listed: Vec<_> = listed
            .into_iter()
            .map(|it| {
                let (method, status) = (it.method.to_string(), it.status.as_u16());
                (it.uri, method, it.has_credentials, status, ms(it.age), ms(it.left), it.bytes)
            })
            .collect();
        let now = self.model.now;
        let listed_entry = |it: &Entry| {
            let (method, resource, caller) = it.key;
            let uri = RESOURCES[resource].uri.to_owned();
            (uri, method.to_owned(), caller != 0, it.status, it.age(now), it.left(now), it.body.len())
        };
        let mut expected: Vec<_> = self.model.entries.iter().map(listed_entry).collect();
        listed.sort();
        expected.sort();
        self.compare(&listed, &expected);
    }

    // ===== divergence =====

    fn log(&mut self, text: &str) {
        if self.trace.len() == 24 {
            self.trace.pop_front();
        }
        self.trace.push_back(text.to_owned());
    }

    fn compare<T: Debug + PartialEq>(&self, given: &T, expected: &T) {
        if given != expected {
            self.diverged(given, expected)
        }
    }

    fn diverged(&self, given: &dyn Debug, expected: &dyn Debug) -> ! {
        let trace: Vec<_> = self.trace.iter().map(String::as_str).collect();
        let trace = trace.join("\n");
        panic!("{trace}\n\nseed {}: the cache gives\n{given:?}\nwhere the rules say\n{expected:?}", self.seed)
    }
}
