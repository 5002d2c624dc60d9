//! The next event of a run, drawn at random from a seed.

use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use steadfast::TimeoutScope;
use steadfast::last_known_good::Cause;

use crate::heads::{Directive, LANGUAGES, RequestHead, ResponseHead, Seconds, TENANTS, Vary};
use crate::model::{REFERENCES, RESOURCES, Response};

/// The headers that identify each caller. The last caller has a user in the URI instead.
pub(crate) const CALLERS: [&[(&str, &str)]; 6] = [
    &[],
    &[("authorization", "alice")],
    &[("authorization", "bob")],
    &[("cookie", "a=1"), ("cookie", "b=2")],
    &[("x-user", "alice")],
    &[],
];
pub(crate) const USER_IN_URI: usize = 5;
pub(crate) const MAX_BODY: usize = 64;

pub(crate) struct Chance {
    pub(crate) rng: SmallRng,
    seed: u64,
    is_down: bool,
    drawn: u64,
}

/// The upstream's reaction to a request.
#[allow(clippy::large_enum_variant)] // Only one value exists at a time.
#[derive(Debug)]
pub(crate) enum Reply {
    Answer(Response, Content),
    Fault(Cause),
}

/// The body of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) pieces: Vec<String>,
    pub(crate) states_length: bool,
    /// The number of pieces after which the body breaks.
    pub(crate) breaks_after: Option<usize>,
}

/// The part of a body that a caller reads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reading {
    Whole,
    OneFrame,
    Nothing,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed), seed, is_down: false, drawn: 0 }
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of.choose(&mut self.rng).expect("there is one").clone()
    }

    fn in_100(&mut self, chances: u32) -> bool {
        self.rng.random_ratio(chances, 100)
    }

    /// Draws low numbers more often, so that requests repeat.
    fn mostly_first(&mut self, end: usize) -> usize {
        let (one, other) = (self.below(end), self.below(end));
        if self.in_100(60) { 0 } else { one.min(other) }
    }

    fn unique(&mut self) -> u64 {
        self.drawn += 1;
        1000 + self.drawn
    }

    fn seconds(&mut self) -> Seconds {
        self.one(&[Some(0), Some(1), Some(5), Some(60), Some(60), Some(600), Some(4000), None])
    }

    pub(crate) fn request_head(&mut self) -> RequestHead {
        let method = match self.rng.random_range(0..100) {
            0..84 => "GET",
            84..94 => "HEAD",
            94..95 => "OPTIONS",
            _ => self.one(&["POST", "PUT", "DELETE", "ODD"]),
        };
        let cache_control =
            if self.in_100(20) { self.directives(Self::request_directive) } else { Vec::new() };
        RequestHead {
            method,
            resource: self.mostly_first(RESOURCES.len()),
            caller: self.mostly_first(CALLERS.len()),
            selecting: [
                LANGUAGES[self.mostly_first(LANGUAGES.len())],
                TENANTS[self.mostly_first(TENANTS.len())],
            ],
            cache_control,
            has_range: self.in_100(2),
            serves_stale: !self.in_100(4),
        }
    }

    fn directives(&mut self, one: fn(&mut Self) -> Directive) -> Vec<Directive> {
        (0..self.one(&[1, 1, 1, 2, 2, 3])).map(|_| one(self)).collect()
    }

    fn request_directive(&mut self) -> Directive {
        let time = self.seconds();
        match self.rng.random_range(0..10) {
            0 => Directive::NoStore,
            1 => Directive::NoCache,
            2 | 3 => Directive::MaxAge(time),
            4 => Directive::MaxStale(Some(time)),
            5 => Directive::MaxStale(None),
            6 | 7 => Directive::MinFresh(time),
            8 => Directive::StaleIfError(time),
            _ => Directive::Other("only-if-odd=\"no-store, no-cache\""),
        }
    }

    fn response_directive(&mut self) -> Directive {
        let time = self.seconds();
        match self.rng.random_range(0..20) {
            0 => Directive::NoStore,
            1 => Directive::NoCache,
            2 => Directive::Private,
            3 | 4 => Directive::MustRevalidate("must-revalidate"),
            5 => Directive::MustRevalidate("proxy-revalidate"),
            6 => Directive::SharedMaxAge(time),
            7..12 => Directive::MaxAge(time),
            12..16 => Directive::StaleIfError(time),
            16 => Directive::Other("x=\"no-store, max-age=0\""),
            17 => Directive::Other("no-storee"),
            _ => Directive::Other("public"),
        }
    }

    /// Draws the upstream's reaction at `now`, in milliseconds since the start. `may_overlap` if other calls may be
    /// under way.
    pub(crate) fn reply(&mut self, request: &RequestHead, now: i64, may_overlap: bool) -> Reply {
        if self.in_100(5) {
            self.is_down = !self.is_down;
        }
        if self.in_100(if self.is_down { 85 } else { 3 }) {
            return self.fault();
        }
        let status = match self.rng.random_range(0..100) {
            0..62 => 200,
            62..80 => 304,
            _ => self.one(&[203, 204, 201, 206, 226, 301, 303, 400, 401, 403, 404, 408, 410, 429, 429, 451]),
        };
        self.answer(status, request, now, may_overlap)
    }

    fn answer(&mut self, status: u16, request: &RequestHead, now: i64, may_overlap: bool) -> Reply {
        let saved_rng = self.in_100(70).then(|| {
            // One of the two usual answers of the resource.
            let usual = self.seed * 1000 + (request.resource * 2 + self.below(2)) as u64;
            std::mem::replace(&mut self.rng, SmallRng::seed_from_u64(usual))
        });
        let head = self.response_head(status, request, now / 1000, may_overlap);
        let headers = head.lines(&mut self.rng);
        let is_empty = request.method == "HEAD" || status == 204 || status == 304;
        let content = self.content(if is_empty { 0 } else { MAX_BODY + 1 });
        self.rng = saved_rng.unwrap_or_else(|| self.rng.clone());
        Reply::Answer(Response { status, head, headers }, content)
    }

    fn fault(&mut self) -> Reply {
        if self.in_100(40) {
            let status = self.one(&[500, 501, 502, 503, 504]);
            let headers = vec![("x-mark", "failed".to_owned()), ("cache-control", "max-age=9".to_owned())];
            return Reply::Answer(
                Response { status, head: ResponseHead::default(), headers },
                self.content(9),
            );
        }
        Reply::Fault(self.one(&[
            Cause::Transport,
            Cause::Transport,
            Cause::Body,
            Cause::Timeout(TimeoutScope::Attempt),
            Cause::Timeout(TimeoutScope::Total),
            Cause::CircuitOpen,
            Cause::BulkheadFull,
        ]))
    }

    /// Draws the head of an answer.
    ///
    /// The rules do not say which of two equal answers counts if the later answer looks older, because of an `Age` or
    /// a missing `Date`. The mark makes all answers of that kind differ, so that only one age is right.
    fn response_head(
        &mut self,
        status: u16,
        request: &RequestHead,
        second: i64,
        may_overlap: bool,
    ) -> ResponseHead {
        let mut head = ResponseHead {
            date: Some(Some(second)),
            mark: Some(self.rng.random_range(0..2)),
            sets_cookie: self.in_100(2),
            is_stream: self.in_100(2),
            closes_connection: self.in_100(10),
            ..ResponseHead::default()
        };
        match self.rng.random_range(0..10) {
            0 => head.age = self.one(&[Some(0), Some(1), Some(7), Some(60), Some(600), Some(3590)]),
            1 => head.date = self.one(&[None, Some(None)]),
            _ => {
                head.etag = self.one(&[None, Some("\"1\""), Some("\"1\""), Some("\"2\""), Some("W/\"1\"")]);
                head.last_modified = self.one(&[None, None, Some(0), Some(60)]);
            }
        }
        if head.age.is_some() || head.date != Some(Some(second)) {
            let is_unique = may_overlap || status == 304;
            head.mark =
                if is_unique { Some(self.unique()) } else { Some(10 + head.age.unwrap_or(0).unsigned_abs()) };
        }
        head.cache_control = match self.rng.random_range(0..10) {
            0..3 => None,
            3..7 => Some(vec![self.one(&[
                Directive::MaxAge(Some(60)),
                Directive::StaleIfError(Some(600)),
                Directive::MustRevalidate("must-revalidate"),
            ])]),
            _ => Some(self.directives(Self::response_directive)),
        };
        if self.in_100(40) {
            let next = (second / 600 + 1) * 600;
            head.expires =
                Some(self.one(&[None, Some(second + 60), Some(next), Some(next), Some(next), Some(0)]));
        }
        if self.in_100(40) {
            head.vary = Some(self.vary(request.resource));
        }
        if self.in_100(30) {
            let name = self.one(&["location", "content-location"]);
            head.reference = Some((name, self.one(&REFERENCES).0));
        }
        head
    }

    fn vary(&mut self, resource: usize) -> Vary {
        if self.in_100(3) {
            return Vary::OnEverything;
        }
        let resource = if self.in_100(10) { self.rng.random_range(0..RESOURCES.len()) } else { resource };
        Vary::On(match resource {
            0 => vec![],
            1 => vec!["accept-language"],
            2 => vec!["accept-language", "authorization"],
            3 => vec!["x-tenant"],
            _ => vec!["accept-language", "x-tenant"],
        })
    }

    /// Draws a body of at most `most` bytes.
    pub(crate) fn content(&mut self, most: usize) -> Content {
        let texts = ["", "one", "one", "two", "three", &"x".repeat(MAX_BODY), &"y".repeat(MAX_BODY + 1)];
        let texts: Vec<_> = texts.into_iter().filter(|it| it.len() <= most).map(str::to_owned).collect();
        let text = self.one(&texts);
        let mut cuts: Vec<_> =
            (0..self.one(&[0, 0, 1, 2])).map(|_| self.rng.random_range(0..=text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let mut pieces: Vec<_> = cuts.windows(2).map(|it| text[it[0]..it[1]].to_owned()).collect();
        if text.is_empty() && self.in_100(50) {
            pieces.clear();
        }
        let breaks_after = self.in_100(6).then(|| self.rng.random_range(0..=pieces.len()));
        Content { states_length: breaks_after.is_none() && self.in_100(50), pieces, breaks_after }
    }

    pub(crate) fn reading(&mut self) -> Reading {
        match self.rng.random_range(0..100) {
            0..86 => Reading::Whole,
            86..93 => Reading::OneFrame,
            _ => Reading::Nothing,
        }
    }

    /// Draws the time that passes, in milliseconds.
    pub(crate) fn time(&mut self) -> i64 {
        self.one(&[1, 400, 1000, 1000, 5000, 5000, 30_000, 60_000, 60_000, 600_000])
    }

    /// Draws a number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.rng.random_range(0..end)
    }

    pub(crate) fn shuffle<T>(&mut self, all: &mut [T]) {
        all.shuffle(&mut self.rng);
    }
}

impl Content {
    pub(crate) fn text(&self) -> String {
        self.pieces.concat()
    }

    /// True if a caller who reads this much gets the whole body and knows its end.
    pub(crate) fn is_whole_after(&self, reading: Reading) -> bool {
        let ends_with_last_byte = self.states_length && self.breaks_after.is_none();
        match reading {
            Reading::Whole => self.breaks_after.is_none(),
            Reading::OneFrame if self.breaks_after.is_some() => false,
            Reading::OneFrame => self.pieces.len() <= usize::from(ends_with_last_byte),
            Reading::Nothing => ends_with_last_byte && self.pieces.is_empty(),
        }
    }
}
