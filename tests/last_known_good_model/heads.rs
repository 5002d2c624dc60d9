//! The meaning of the heads of requests and responses, and the odd ways to spell them.

use http::HeaderMap;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// A header line.
pub(crate) type Line = (&'static str, String);

/// A directive of `Cache-Control`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Directive {
    NoStore,
    NoCache,
    Private,
    MustRevalidate(&'static str),
    MaxAge(Seconds),
    SharedMaxAge(Seconds),
    StaleIfError(Seconds),
    /// `None` has no time, and accepts any staleness.
    MaxStale(Option<Seconds>),
    MinFresh(Seconds),
    /// A directive that must be ignored.
    Other(&'static str),
}

/// A number of seconds. `None` stands for an invalid number.
pub(crate) type Seconds = Option<i64>;

/// A date. `None` stands for an invalid date.
pub(crate) type Date = Option<i64>;

/// The meaning of a request's head for the cache. `resource` and `caller` are indices.
#[derive(Debug, Clone)]
pub(crate) struct RequestHead {
    pub(crate) method: &'static str,
    pub(crate) resource: usize,
    pub(crate) caller: usize,
    /// The lines of each header that a response may vary on, in the order of [`SELECTING`].
    pub(crate) selecting: [&'static [&'static str]; 2],
    pub(crate) cache_control: Vec<Directive>,
    pub(crate) has_range: bool,
    pub(crate) serves_stale: bool,
}

/// The headers that a response may vary on. [`LANGUAGES`] and [`TENANTS`] list the lines that a request may have. The
/// cache stores more variants than there are combinations.
pub(crate) const SELECTING: [&str; 2] = ["accept-language", "x-tenant"];
pub(crate) const LANGUAGES: [&[&str]; 5] = [&[], &["de"], &["en"], &["de, en"], &["de", "en"]];
pub(crate) const TENANTS: [&[&str]; 3] = [&[], &["a"], &[""]];

/// The meaning of a response's head for the cache. `None` stands for an absent header.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResponseHead {
    pub(crate) cache_control: Option<Vec<Directive>>,
    /// The `Date`, in seconds of the upstream's clock.
    pub(crate) date: Option<Date>,
    pub(crate) expires: Option<Date>,
    pub(crate) age: Option<i64>,
    pub(crate) vary: Option<Vary>,
    pub(crate) etag: Option<&'static str>,
    pub(crate) last_modified: Option<i64>,
    pub(crate) mark: Option<u64>,
    pub(crate) sets_cookie: bool,
    pub(crate) is_stream: bool,
    pub(crate) closes_connection: bool,
    /// The header that refers to another resource, and its value.
    pub(crate) reference: Option<(&'static str, &'static str)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Vary {
    /// The names, sorted.
    On(Vec<&'static str>),
    OnEverything,
}

impl ResponseHead {
    /// The meaning of the stored head after a 304 with the head `update`.
    pub(crate) fn updated(&self, update: &Self) -> Self {
        let (old, update) = (self.clone(), update.clone());
        Self {
            cache_control: update.cache_control.or(old.cache_control),
            date: update.date.or(old.date),
            expires: update.expires.or(old.expires),
            vary: update.vary.or(old.vary),
            etag: update.etag.or(old.etag),
            last_modified: update.last_modified.or(old.last_modified),
            mark: update.mark.or(old.mark),
            sets_cookie: old.sets_cookie || update.sets_cookie,
            ..old
        }
    }

    /// The header lines, in a fixed order. Half of the time, the spelling is fixed, too.
    pub(crate) fn lines(&self, rng: &mut SmallRng) -> Vec<Line> {
        let rng = if rng.random() { &mut SmallRng::seed_from_u64(1) } else { rng };
        let mut lines = Vec::new();
        let mut line = |name, value: Option<String>| lines.extend(value.map(|value| (name, value)));
        line("x-mark", self.mark.map(|it| it.to_string()));
        line("etag", self.etag.map(str::to_owned));
        line("last-modified", self.last_modified.map(date));
        line("date", self.date.map(|it| it.map_or("soon".to_owned(), date)));
        line("expires", self.expires.map(|it| it.map_or("0".to_owned(), date)));
        line("age", self.age.map(|it| it.to_string()));
        line("set-cookie", self.sets_cookie.then(|| "session=1".to_owned()));
        line("content-type", self.is_stream.then(|| "Text/Event-Stream; charset=utf-8".to_owned()));
        line("connection", self.closes_connection.then(|| "close, X-Hop".to_owned()));
        line("x-hop", self.closes_connection.then(|| "1".to_owned()));
        lines.extend(self.reference.map(|(name, to)| (name, to.to_owned())));
        if let Some(directives) = &self.cache_control {
            lines.extend(cache_control(directives, rng));
        }
        match &self.vary {
            None => {}
            Some(Vary::OnEverything) => lines.push(("vary", "accept-language, *".to_owned())),
            Some(Vary::On(names)) => {
                let mut names: Vec<_> = names.iter().map(|name| case(name, rng)).collect();
                names.shuffle(rng);
                lines.extend(list("vary", &names, rng));
            }
        }
        lines
    }
}

/// The lines of `Cache-Control`.
pub(crate) fn cache_control(directives: &[Directive], rng: &mut SmallRng) -> Vec<Line> {
    let spelled: Vec<_> = directives.iter().map(|it| it.spelled(rng)).collect();
    list("cache-control", &spelled, rng)
}

impl Directive {
    fn spelled(self, rng: &mut SmallRng) -> String {
        let mut timed = |name: &str, seconds: Seconds| {
            let Some(seconds) = seconds else {
                return case(name, rng) + ["=abc", "=", "=-1", "=1.5"][rng.random_range(0..4)];
            };
            let quote = if rng.random_bool(0.2) { "\"" } else { "" };
            format!("{}={quote}{seconds}{quote}", case(name, rng))
        };
        match self {
            Self::MaxAge(time) => timed("max-age", time),
            Self::SharedMaxAge(time) => timed("s-maxage", time),
            Self::StaleIfError(time) => timed("stale-if-error", time),
            Self::MaxStale(Some(time)) => timed("max-stale", time),
            Self::MaxStale(None) => case("max-stale", rng),
            Self::MinFresh(time) => timed("min-fresh", time),
            Self::NoStore => case("no-store", rng),
            Self::NoCache => case(["no-cache", "no-cache=\"x, y\""][rng.random_range(0..2)], rng),
            Self::Private => case(["private", "private=\"x, no-store\""][rng.random_range(0..2)], rng),
            Self::MustRevalidate(name) => case(name, rng),
            Self::Other(text) => text.to_owned(),
        }
    }
}

/// The text in lower case, in upper case, or mixed.
fn case(text: &str, rng: &mut SmallRng) -> String {
    match rng.random_range(0..4) {
        0 => text.to_ascii_uppercase(),
        1 => text.chars().map(|it| if rng.random() { it.to_ascii_uppercase() } else { it }).collect(),
        _ => text.to_owned(),
    }
}

/// A list in one or more lines, with odd separators.
fn list(name: &'static str, members: &[String], rng: &mut SmallRng) -> Vec<Line> {
    let mut lines = vec![String::new()];
    for member in members {
        if rng.random_bool(0.2) {
            lines.push(String::new());
        }
        let line = lines.last_mut().expect("there is one");
        if !line.is_empty() {
            line.push_str([",", ", ", " , ", ",,", "\t,"][rng.random_range(0..5)]);
        }
        line.push_str(member);
    }
    lines.into_iter().map(|line| (name, line)).collect()
}

/// A second of the upstream's clock as an HTTP date.
pub(crate) fn date(second: i64) -> String {
    let since_1970 = std::time::Duration::from_secs(1_767_225_600 + second.unsigned_abs());
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + since_1970)
}

pub(crate) fn header_map(lines: &[Line]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, value.parse().expect("a header value"));
    }
    headers
}
