//! The rules in their plainest form: a list of all entries that may still be served, searched from the beginning.
//! Times are in milliseconds since the start.

use std::collections::HashMap;

use crate::said::{Asked, Directive, Line, SELECTING, Said, Seconds, Varies};

/// A place that requests go to. Places of one origin refer to each other by [`REFERENCES`].
pub(crate) struct Place {
    pub(crate) spellings: [&'static str; 2],
    /// The URI of the place in `entries()`.
    pub(crate) uri: &'static str,
    pub(crate) host: Option<&'static str>,
}

const fn place(spellings: [&'static str; 2], uri: &'static str, host: Option<&'static str>) -> Place {
    Place { spellings, uri, host }
}

pub(crate) const PLACES: [Place; 7] = [
    place(["http://sku.internal/a", "HTTP://SKU.internal:80/a"], "http://sku.internal:80/a", None),
    place(["http://sku.internal/b", "http://sku.INTERNAL/b"], "http://sku.internal:80/b", None),
    place(["http://sku.internal/b?q", "http://sku.internal:80/b?q"], "http://sku.internal:80/b?q", None),
    place(["http://other.internal/a", "http://other.internal:80/a"], "http://other.internal:80/a", None),
    place(["http://127.0.0.1:4140/a"; 2], "http://127.0.0.1:4140/a", Some("one.internal")),
    place(["http://127.0.0.1:4140/a"; 2], "http://127.0.0.1:4140/a", Some("two.internal")),
    place(["http://127.0.0.1:4140/b"; 2], "http://127.0.0.1:4140/b", Some("one.internal")),
];

/// References, each with the place that the reference names in an answer of each place.
pub(crate) const REFERENCES: [(&str, [Option<usize>; 7]); 7] = [
    ("/a", [Some(0), Some(0), Some(0), Some(3), Some(4), Some(5), Some(4)]),
    ("b#part", [Some(1), Some(1), Some(1), None, Some(6), None, Some(6)]),
    ("./b?q", [Some(2), Some(2), Some(2), None, None, None, None]),
    ("http://sku.internal:80/b", [Some(1), Some(1), Some(1), None, None, None, None]),
    ("//SKU.internal/a", [Some(0), Some(0), Some(0), None, None, None, None]),
    ("https://sku.internal/a", [None; 7]),
    ("http://[", [None; 7]),
];

/// An entry.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// The method, the place and the caller.
    pub(crate) whose: (&'static str, usize, usize),
    /// The names in `Vary`, each with the lines of the request.
    varies: Vec<(&'static str, Vec<&'static str>)>,
    said: Said,
    pub(crate) status: u16,
    pub(crate) headers: Vec<Line>,
    pub(crate) body: String,
    given: i64,
    made: i64,
    pub(crate) fresh_for: i64,
    served_for: i64,
}

impl Kept {
    pub(crate) fn age(&self, now: i64) -> i64 {
        now - self.made
    }

    pub(crate) fn left(&self, now: i64) -> i64 {
        (self.served_for - self.age(now)).max(0)
    }

    pub(crate) fn with_body(self, body: String) -> Self {
        Self { body, ..self }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.varies.iter().map(|(name, _)| *name)
    }

    /// True if the entry may answer the request (RFC 9111 §4.1).
    fn answers(&self, asked: &Asked) -> bool {
        self.whose == asked.whose() && self.varies.iter().all(|(name, lines)| asked.lines(name) == lines)
    }

    /// True if the entry takes the place of `other`: an entry for the same request, or an entry that varies on other
    /// headers.
    fn replaces(&self, other: &Self) -> bool {
        self.whose == other.whose && (self.varies == other.varies || !self.names().eq(other.names()))
    }
}

impl Asked {
    fn whose(&self) -> (&'static str, usize, usize) {
        (self.method, self.place, self.caller)
    }

    fn lines(&self, name: &str) -> &[&'static str] {
        // A `Vary` on credentials separates nothing more: each entry is for one caller.
        SELECTING.iter().position(|it| *it == name).map_or(&[], |at| self.selecting[at])
    }

    fn has(&self, directive: Directive) -> bool {
        self.cache_control.contains(&directive)
    }
}

/// A call that has begun.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) asked: Asked,
    at: i64,
    removals: usize,
}

/// The head of the upstream's answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) said: Said,
    pub(crate) headers: Vec<Line>,
}

/// The result that a call must have.
pub(crate) enum Expected {
    /// The upstream's own answer or error. The entry inside is stored once the whole body has been read.
    Fresh(Option<Kept>),
    Stale(Kept),
}

pub(crate) struct Model {
    pub(crate) max_age: i64,
    pub(crate) now: i64,
    pub(crate) kept: Vec<Kept>,
    /// The number of invalidations of each place. `outdated` is the number for one caller alone, with insertions.
    removals: [usize; PLACES.len()],
    outdated: HashMap<(usize, usize), usize>,
}

impl Model {
    pub(crate) fn new(max_age: i64) -> Self {
        Self { max_age, now: 0, kept: Vec::new(), removals: [0; PLACES.len()], outdated: HashMap::new() }
    }

    pub(crate) fn begin(&self, asked: Asked) -> Begun {
        Begun { removals: self.removals_for(&asked), at: self.now, asked }
    }

    fn removals_for(&self, asked: &Asked) -> usize {
        let outdated = self.outdated.get(&(asked.place, asked.caller));
        self.removals[asked.place] + outdated.copied().unwrap_or_default()
    }

    /// Takes the head of the answer, or the failure of the call. `serves_stale` if the cache covers this kind of
    /// failure.
    ///
    /// An answer is not stored if its length is not stated and the connection is to be closed: the end of its body is
    /// unknown.
    pub(crate) fn answer(
        &mut self,
        call: &Begun,
        response: Option<&Response>,
        states_length: bool,
        serves_stale: bool,
    ) -> Expected {
        let asked = &call.asked;
        if !["GET", "HEAD", "OPTIONS"].contains(&asked.method) {
            // RFC 9111 §4.4.
            if let Some(response) = response.filter(|it| (200..400).contains(&it.status)) {
                self.remove(asked.place);
                let to = response.said.refers.map(|(_, to)| to);
                let referred = REFERENCES.iter().find(|(reference, _)| Some(*reference) == to);
                referred
                    .and_then(|(_, places)| places[asked.place])
                    .into_iter()
                    .for_each(|it| self.remove(it));
            }
            return Expected::Fresh(None);
        }
        if asked.method == "OPTIONS" || asked.has_range {
            return Expected::Fresh(None);
        }
        if serves_stale && asked.serves_stale {
            if let Some(kept) = self.kept.iter().find(|it| it.answers(asked) && self.may_be_served(it, asked))
            {
                return Expected::Stale(kept.clone());
            }
        }
        let Some(response) = response else { return Expected::Fresh(None) };
        let may_keep = !asked.has(Directive::NoStore);
        match response.status {
            401 | 403 | 404 | 410 | 451 => self.take_back(asked),
            304 if may_keep => self.freshen(call, response),
            200..300 if may_keep => {
                let kept = self.keepable(call, response);
                if kept.is_none() {
                    self.take_back(asked);
                }
                return Expected::Fresh(kept.filter(|_| states_length || !response.said.has_hop));
            }
            _ => {}
        }
        Expected::Fresh(None)
    }

    /// Stores a whole answer, unless the place was invalidated since the call began, or the replaced entry would be
    /// newer.
    pub(crate) fn keep(&mut self, call: &Begun, new: Kept) {
        let is_outdated = self.kept.iter().any(|it| new.replaces(it) && it.given > new.given);
        if self.removals_for(&call.asked) == call.removals && !is_outdated {
            self.kept.retain(|it| !new.replaces(it));
            self.kept.push(new);
        }
    }

    /// Stores an answer as if a call had begun and ended now. `None` if the answer may not be stored.
    pub(crate) fn insert(&mut self, asked: Asked, response: &Response, body: &str) -> Option<()> {
        let call = self.begin(asked);
        let may_be_asked = ["GET", "HEAD"].contains(&call.asked.method)
            && !call.asked.has_range
            && !call.asked.has(Directive::NoStore);
        let kept = self.keepable(&call, response).filter(|_| may_be_asked)?;
        // The inserted entry is newer than the answers to all calls under way.
        self.outdate(&call.asked);
        let call = Begun { removals: self.removals_for(&call.asked), ..call };
        self.keep(&call, kept.with_body(body.to_owned()));
        Some(())
    }

    pub(crate) fn remove(&mut self, place: usize) {
        self.removals[place] += 1;
        self.kept.retain(|it| it.whose.1 != place);
    }

    fn outdate(&mut self, asked: &Asked) {
        *self.outdated.entry((asked.place, asked.caller)).or_default() += 1;
    }

    /// Invalidates the entries of one caller.
    fn take_back(&mut self, asked: &Asked) {
        self.outdate(asked);
        self.kept.retain(|it| (it.whose.1, it.whose.2) != (asked.place, asked.caller));
    }

    /// Updates an entry after a 304 (RFC 9111 §4.3.4 and §3.2).
    fn freshen(&mut self, call: &Begun, response: &Response) {
        let anew = &response.said;
        let is_about = |kept: &&Kept| match (anew.etag, anew.last_modified) {
            (Some(etag), _) => kept.said.etag == Some(etag),
            (None, Some(date)) => kept.said.last_modified == Some(date),
            (None, None) => false,
        };
        let Some(before) = self.kept.iter().find(|it| it.answers(&call.asked) && is_about(it)) else {
            return;
        };
        let lines = || end_to_end(&response.headers).filter(|(name, _)| *name != "content-type");
        let mut headers = before.headers.clone();
        headers.retain(|(name, _)| lines().all(|(it, _)| it != *name));
        headers.extend(lines());
        let updated = Response { status: before.status, said: before.said.updated(anew), headers };
        let (body, made) = (before.body.clone(), self.made(call, anew));
        match self.keepable(call, &updated) {
            Some(kept) => self.keep(call, Kept { body, made, ..kept }),
            None => self.take_back(&call.asked),
        }
    }

    /// The time at which the answer was made (RFC 9111 §4.2.3, without the `Date`).
    fn made(&self, call: &Begun, said: &Said) -> i64 {
        said.age.filter(|age| *age > 0).map_or(self.now, |age| call.at - 1000 * age)
    }

    /// The entry for a response, still without its body. `None` if the response may not be stored (RFC 9111 §3).
    fn keepable(&self, call: &Begun, response: &Response) -> Option<Kept> {
        let (asked, said) = (&call.asked, &response.said);
        let is_good = (200..300).contains(&response.status) && ![206, 226].contains(&response.status);
        let varies = match &said.vary {
            None => Vec::new(),
            Some(Varies::On(names)) => names.iter().map(|name| (*name, asked.lines(name).to_vec())).collect(),
            Some(Varies::OnEverything) => return None,
        };
        let (fresh_for, served_for) = self.lifetime(said, asked.caller != 0)?;
        (is_good && !said.sets_cookie && !said.is_stream).then(|| Kept {
            whose: asked.whose(),
            varies,
            said: said.clone(),
            status: response.status,
            headers: end_to_end(&response.headers).collect(),
            body: String::new(),
            given: self.now,
            made: self.made(call, said),
            fresh_for,
            served_for,
        })
    }

    /// The times for which a response is fresh and may be served. `None` if the response may not be stored.
    fn lifetime(&self, said: &Said, is_somebodys: bool) -> Option<(i64, i64)> {
        let directives = said.cache_control.as_deref().unwrap_or_default();
        let mut must_revalidate = false;
        for directive in directives {
            match directive {
                Directive::NoStore | Directive::NoCache => return None,
                Directive::Private if !is_somebodys => return None,
                Directive::MustRevalidate(_) | Directive::SharedMaxAge(_) => must_revalidate = true,
                _ => {}
            }
        }
        let least = |of: fn(&Directive) -> Option<Seconds>| {
            directives.iter().filter_map(of).map(|it| 1000 * it.unwrap_or(0)).min()
        };
        // RFC 9111 §4.2.1.
        let shared = least(|it| if let Directive::SharedMaxAge(time) = it { Some(*time) } else { None });
        let own = least(|it| if let Directive::MaxAge(time) = it { Some(*time) } else { None });
        let stale = least(|it| if let Directive::StaleIfError(time) = it { Some(*time) } else { None });
        let by_dates = said.expires.map(|expires| match (expires, said.date.flatten()) {
            (Some(expires), Some(date)) => 1000 * (expires - date).max(0),
            _ => 0,
        });
        let fresh_for = shared.or(own).or(by_dates).unwrap_or(0);
        let served_for = match stale {
            _ if must_revalidate => fresh_for,
            Some(stale) => fresh_for + stale,
            None => self.max_age,
        };
        (served_for > 0).then_some((fresh_for, served_for))
    }

    fn may_be_served(&self, kept: &Kept, asked: &Asked) -> bool {
        let age = kept.age(self.now);
        let staleness = age - kept.fresh_for;
        let mut max_age = i64::MAX;
        let mut max_stale: Option<i64> = None;
        let mut stale_if_error: Option<i64> = None;
        let mut min_fresh = i64::MIN;
        for directive in &asked.cache_control {
            let least = |known: Option<i64>, time: i64| Some(known.map_or(time, |known| known.min(time)));
            match *directive {
                Directive::MaxAge(time) => max_age = max_age.min(1000 * time.unwrap_or(0)),
                Directive::MaxStale(None) => max_stale = least(max_stale, i64::MAX),
                Directive::MaxStale(Some(time)) => max_stale = least(max_stale, 1000 * time.unwrap_or(0)),
                Directive::StaleIfError(time) => {
                    stale_if_error = least(stale_if_error, 1000 * time.unwrap_or(0));
                }
                Directive::MinFresh(Some(time)) => min_fresh = min_fresh.max(1000 * time),
                _ => {}
            }
        }
        let is_wanted = match (stale_if_error, max_stale) {
            // RFC 5861 §4.
            (Some(most), _) => staleness <= most,
            // RFC 9111 §5.2.1.
            _ if asked.has(Directive::NoCache) || -staleness < min_fresh => false,
            (None, most) => age <= max_age && most.is_none_or(|most| staleness <= most),
        };
        age < kept.served_for && is_wanted
    }
}

/// The headers without those of the connection.
fn end_to_end(headers: &[Line]) -> impl Iterator<Item = Line> {
    headers.iter().filter(|(name, _)| !["connection", "x-hop"].contains(name)).cloned()
}
