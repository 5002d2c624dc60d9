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
use crate::model::{Begun, Expected, Kept, Model, PLACES};
use crate::said::{Asked, Line, SELECTING, cache_control, header_map};
use crate::seen::{Answer, Seen, error_of, expected_of, given_by, lines, seen};
use crate::support::TestBody;

const MAX_AGE: i64 = 3600 * 1000;

type Given = Result<http::Response<ResponseBody<TestBody>>, Error<io::Error>>;
type Asking = Pin<Box<dyn Future<Output = Given>>>;
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
    held: Vec<Held>,
    trace: VecDeque<String>,
    served: usize,
}

/// A call under way.
#[allow(clippy::large_enum_variant)] // Only a few values exist at a time.
enum Held {
    Asking(Call),
    Reading {
        call: Begun,
        response: http::Response<ResponseBody<TestBody>>,
        kept: Option<Kept>,
        content: Content,
    },
}

struct Call {
    begun: Begun,
    asking: Asking,
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
            held: Vec::new(),
            trace: VecDeque::new(),
            served: 0,
        }
    }

    /// Takes `steps` steps. Returns the number of stale responses.
    pub(crate) async fn steps(mut self, steps: usize) -> usize {
        for step in 0..steps {
            self.note(&format!("== step {step} at {} ms", self.model.now));
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
                if let Some(held) = self.answer(call, false).await {
                    self.end(held).await;
                }
            }
            55..63 if self.held.len() < 6 => {
                let call = self.begin();
                self.held.push(Held::Asking(call));
            }
            55..78 if !self.held.is_empty() => self.go_on().await,
            78..82 => self.insert().await,
            82..84 => {
                let asked = self.chance.asked();
                self.note(&format!("invalidate {}", asked.place));
                self.model.remove(asked.place);
                let request = self.request(&asked);
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
    async fn go_on(&mut self) {
        let at = self.chance.below(self.held.len());
        match self.held.swap_remove(at) {
            Held::Asking(call) => {
                if self.chance.below(10) == 0 {
                    self.note(&format!("dropped: {:?}", call.begun));
                    return;
                }
                let held = self.answer(call, true).await;
                self.held.extend(held);
            }
            held @ Held::Reading { .. } => self.end(held).await,
        }
    }

    fn begin(&mut self) -> Call {
        let asked = self.chance.asked();
        self.note(&format!("begin {asked:?}"));
        let request = self.request(&asked);
        let begun = self.model.begin(asked);
        let (answer, receiver) = oneshot::channel();
        *self.next.lock().unwrap() = Some(receiver);
        let mut asking: Asking = Box::pin(self.service.call(request));
        assert!((&mut asking).now_or_never().is_none());
        Call { begun, asking, answer }
    }

    /// Lets the upstream answer or fail. Returns the call if its body is still to be read.
    async fn answer(&mut self, call: Call, is_held: bool) -> Option<Held> {
        let Call { begun, asking, answer } = call;
        let reply = self.chance.reply(&begun.asked, self.model.now, is_held);
        self.note(&format!("  {reply:?} to {begun:?}"));
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
        let expected = self.model.answer(&begun, response, states_length, serves_stale);
        assert!(answer.send(given_by(&reply)).is_ok());
        match (expected, asking.await, reply) {
            (Expected::Stale(kept), Ok(given), _) => {
                self.served += 1;
                let cause = cause.expect("nothing is stale but for a cause");
                self.compare(&seen(&given), &expected_of(&kept, cause, self.model.now));
                let body = given.into_body().collect().await.unwrap().to_bytes();
                self.compare(&body, &Bytes::from(kept.body));
                None
            }
            (Expected::Fresh(kept), Ok(given), Reply::Answer(response, content)) => {
                let headers = lines(&header_map(&response.headers));
                self.compare(&seen(&given), &Seen { stale: None, status: response.status, headers });
                // An answer without a body is whole before the caller reads.
                let kept = self.keep_if(content.is_whole_after(Reading::Nothing), &begun, kept, &content);
                Some(Held::Reading { call: begun, response: given, kept, content })
            }
            (Expected::Fresh(_), Err(error), Reply::Fault(cause)) => {
                self.compare(&format!("{error:?}"), &format!("{:?}", error_of(cause)));
                None
            }
            (Expected::Stale(kept), Err(error), _) => self.diverged(&error, &kept),
            (Expected::Fresh(_), given, reply) => self.diverged(&given.map(|it| seen(&it)), &reply),
        }
    }

    /// Lets the caller read the body, a part of the body, or nothing.
    async fn end(&mut self, held: Held) {
        let Held::Reading { call, response, kept, content } = held else { return };
        let reading = self.chance.reading();
        self.note(&format!("  reads {reading:?} of {content:?} to {call:?}"));
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
        self.keep_if(content.is_whole_after(reading), &call, kept, &content);
    }

    /// Stores the entry in the model if the body is whole and fits. Returns an entry that still waits for its body.
    fn keep_if(
        &mut self,
        is_whole: bool,
        call: &Begun,
        kept: Option<Kept>,
        content: &Content,
    ) -> Option<Kept> {
        let kept = kept.filter(|_| content.text().len() <= MAX_BODY)?;
        if !is_whole {
            return Some(kept);
        }
        self.model.keep(call, kept.with_body(content.text()));
        None
    }

    async fn insert(&mut self) {
        let asked = self.chance.asked();
        let Reply::Answer(response, content) = self.chance.reply(&asked, self.model.now, true) else {
            return;
        };
        self.note(&format!("insert {response:?} {content:?} for {asked:?}"));
        let request = self.request(&asked);
        let text = content.text();
        let mut inserted = http::Response::new(Bytes::from(text.clone()));
        *inserted.status_mut() = response.status.try_into().unwrap();
        *inserted.headers_mut() = header_map(&response.headers);
        let expected = if text.len() <= MAX_BODY { self.model.insert(asked, &response, &text) } else { None };
        let kept = self.cache.insert(&request, inserted).await;
        self.compare(&kept.is_ok(), &expected.is_some());
    }

    fn request(&mut self, asked: &Asked) -> Request<String> {
        let place = &PLACES[asked.place];
        let mut uri = place.spellings[self.chance.below(2)].to_owned();
        if asked.caller == USER_IN_URI {
            uri = uri.replacen("://", "://alice:secret@", 1);
        }
        let mut lines: Vec<Line> = Vec::new();
        lines.extend(place.host.map(|host| ("host", host.to_owned())));
        lines.extend(CALLERS[asked.caller].iter().map(|(name, value)| (*name, (*value).to_owned())));
        for (name, values) in SELECTING.iter().zip(asked.selecting) {
            lines.extend(values.iter().map(|value| (*name, (*value).to_owned())));
        }
        lines.extend(asked.has_range.then(|| ("range", "bytes=0-1".to_owned())));
        lines.extend(cache_control(&asked.cache_control, &mut self.chance.rng));
        // The order of names is irrelevant, but the order of lines with one name matters.
        let mut names: Vec<_> = lines.iter().map(|(name, _)| *name).collect();
        names.dedup();
        self.chance.shuffle(&mut names);
        lines.sort_by_key(|(name, _)| names.iter().position(|it| it == name));
        let mut request = Request::builder().method(asked.method).uri(uri).body(String::new()).unwrap();
        *request.headers_mut() = header_map(&lines);
        if !asked.serves_stale {
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
        let kept = |it: &Kept| {
            let (method, place, caller) = it.whose;
            let uri = PLACES[place].uri.to_owned();
            (uri, method.to_owned(), caller != 0, it.status, it.age(now), it.left(now), it.body.len())
        };
        let mut expected: Vec<_> = self.model.kept.iter().map(kept).collect();
        listed.sort();
        expected.sort();
        self.compare(&listed, &expected);
    }

    // ===== divergence =====

    fn note(&mut self, text: &str) {
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
