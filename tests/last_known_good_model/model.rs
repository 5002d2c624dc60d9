//! The rules in their plainest form: a list of all entries that may still be served, searched from the beginning.
//! Times are in milliseconds since the start.

use std::collections::HashMap;

use crate::heads::{Directive, Line, RequestHead, ResponseHead, SELECTING, Seconds, Vary};

/// A resource that requests are for. Resources of one origin refer to each other by [`REFERENCES`].
pub(crate) struct Resource {
    pub(crate) spellings: [&'static str; 2],
    /// The URI of the resource in `entries()`.
    pub(crate) uri: &'static str,
    pub(crate) host: Option<&'static str>,
}

const fn resource(spellings: [&'static str; 2], uri: &'static str, host: Option<&'static str>) -> Resource {
    Resource { spellings, uri, host }
}

pub(crate) const RESOURCES: [Resource; 7] = [
    resource(["http://sku.internal/a", "HTTP://SKU.internal:80/a"], "http://sku.internal:80/a", None),
    resource(["http://sku.internal/b", "http://sku.INTERNAL/b"], "http://sku.internal:80/b", None),
    resource(["http://sku.internal/b?q", "http://sku.internal:80/b?q"], "http://sku.internal:80/b?q", None),
    resource(["http://other.internal/a", "http://other.internal:80/a"], "http://other.internal:80/a", None),
    resource(["http://127.0.0.1:4140/a"; 2], "http://127.0.0.1:4140/a", Some("one.internal")),
    resource(["http://127.0.0.1:4140/a"; 2], "http://127.0.0.1:4140/a", Some("two.internal")),
    resource(["http://127.0.0.1:4140/b"; 2], "http://127.0.0.1:4140/b", Some("one.internal")),
];

/// References, each with the resource that it names in an answer of each resource.
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
pub(crate) struct Entry {
    /// The method, the resource and the caller.
    pub(crate) key: (&'static str, usize, usize),
    /// The names in `Vary`, each with the lines of the request.
    vary: Vec<(&'static str, Vec<&'static str>)>,
    head: ResponseHead,
    pub(crate) status: u16,
    pub(crate) headers: Vec<Line>,
    pub(crate) body: String,
    received_at: i64,
    generated_at: i64,
    pub(crate) fresh_for: i64,
    served_for: i64,
}

impl Entry {
    pub(crate) fn age(&self, now: i64) -> i64 {
        now - self.generated_at
    }

    pub(crate) fn left(&self, now: i64) -> i64 {
        (self.served_for - self.age(now)).max(0)
    }

    pub(crate) fn with_body(self, body: String) -> Self {
        Self { body, ..self }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.vary.iter().map(|(name, _)| *name)
    }

    /// True if the entry may answer the request (RFC 9111 §4.1).
    fn matches(&self, request: &RequestHead) -> bool {
        self.key == request.key() && self.vary.iter().all(|(name, lines)| request.lines(name) == lines)
    }

    /// True if the entry takes the place of `other`: an entry for the same request, or an entry that varies on other
    /// headers.
    fn replaces(&self, other: &Self) -> bool {
        self.key == other.key && (self.vary == other.vary || !self.names().eq(other.names()))
    }
}

impl RequestHead {
    fn key(&self) -> (&'static str, usize, usize) {
        (self.method, self.resource, self.caller)
    }

    fn lines(&self, name: &str) -> &[&'static str] {
        // A `Vary` on credentials separates nothing more: each entry is for one caller.
        SELECTING.iter().position(|it| *it == name).map_or(&[], |at| self.selecting[at])
    }

    fn has(&self, directive: Directive) -> bool {
        self.cache_control.contains(&directive)
    }
}

/// The state at the start of a call.
#[derive(Debug)]
pub(crate) struct CallStart {
    pub(crate) request: RequestHead,
    at: i64,
    invalidations: usize,
}

/// The head of the upstream's answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: ResponseHead,
    pub(crate) headers: Vec<Line>,
}

/// The result that a call must have.
pub(crate) enum Expected {
    /// The upstream's own answer or error. The entry inside is stored once the whole body has been read.
    Fresh(Option<Entry>),
    Stale(Entry),
}

pub(crate) struct Model {
    pub(crate) max_age: i64,
    pub(crate) now: i64,
    pub(crate) entries: Vec<Entry>,
    /// The number of invalidations of each resource. `caller_invalidations` has the number for one caller alone; an
    /// insertion counts as one.
    invalidations: [usize; RESOURCES.len()],
    caller_invalidations: HashMap<(usize, usize), usize>,
}

impl Model {
    pub(crate) fn new(max_age: i64) -> Self {
        Self {
            max_age,
            now: 0,
            entries: Vec::new(),
            invalidations: [0; RESOURCES.len()],
            caller_invalidations: HashMap::new(),
        }
    }

    pub(crate) fn begin(&self, request: RequestHead) -> CallStart {
        CallStart { invalidations: self.invalidations_for(&request), at: self.now, request }
    }

    fn invalidations_for(&self, request: &RequestHead) -> usize {
        let of_caller = self.caller_invalidations.get(&(request.resource, request.caller));
        self.invalidations[request.resource] + of_caller.copied().unwrap_or_default()
    }

    /// Takes the head of the answer, or the failure of the call. `serves_stale` if the cache covers this kind of
    /// failure.
    ///
    /// An answer is not stored if its length is not stated and the connection is to be closed: the end of its body is
    /// unknown.
    pub(crate) fn answer(
        &mut self,
        call: &CallStart,
        response: Option<&Response>,
        states_length: bool,
        serves_stale: bool,
    ) -> Expected {
        let request = &call.request;
        if !["GET", "HEAD", "OPTIONS"].contains(&request.method) {
            // RFC 9111 §4.4.
            if let Some(response) = response.filter(|it| (200..400).contains(&it.status)) {
                self.invalidate(request.resource);
                let to = response.head.reference.map(|(_, to)| to);
                let referred = REFERENCES.iter().find(|(reference, _)| Some(*reference) == to);
                referred
                    .and_then(|(_, resources)| resources[request.resource])
                    .into_iter()
                    .for_each(|it| self.invalidate(it));
            }
            return Expected::Fresh(None);
        }
        if request.method == "OPTIONS" || request.has_range {
            return Expected::Fresh(None);
        }
        if serves_stale && request.serves_stale {
            if let Some(entry) =
                self.entries.iter().find(|it| it.matches(request) && self.may_be_served(it, request))
            {
                return Expected::Stale(entry.clone());
            }
        }
        let Some(response) = response else { return Expected::Fresh(None) };
        let may_store = !request.has(Directive::NoStore);
        match response.status {
            401 | 403 | 404 | 410 | 451 => self.revoke(request),
            304 if may_store => self.freshen(call, response),
            200..300 if may_store => {
                let entry = self.entry_for(call, response);
                if entry.is_none() {
                    self.revoke(request);
                }
                return Expected::Fresh(entry.filter(|_| states_length || !response.head.closes_connection));
            }
            _ => {}
        }
        Expected::Fresh(None)
    }

    /// Stores a whole answer, unless the resource was invalidated since the call began, or the replaced entry would be
    /// newer.
    pub(crate) fn store(&mut self, call: &CallStart, new: Entry) {
        let is_older = self.entries.iter().any(|it| new.replaces(it) && it.received_at > new.received_at);
        if self.invalidations_for(&call.request) == call.invalidations && !is_older {
            self.entries.retain(|it| !new.replaces(it));
            self.entries.push(new);
        }
    }

    /// Stores an answer as if a call had begun and ended now. `None` if the answer may not be stored.
    pub(crate) fn insert(&mut self, request: RequestHead, response: &Response, body: &str) -> Option<()> {
        let call = self.begin(request);
        let is_cacheable = ["GET", "HEAD"].contains(&call.request.method)
            && !call.request.has_range
            && !call.request.has(Directive::NoStore);
        let entry = self.entry_for(&call, response).filter(|_| is_cacheable)?;
        // The inserted entry is newer than the answers to all calls under way.
        self.discard_calls_under_way(&call.request);
        let call = CallStart { invalidations: self.invalidations_for(&call.request), ..call };
        self.store(&call, entry.with_body(body.to_owned()));
        Some(())
    }

    pub(crate) fn invalidate(&mut self, resource: usize) {
        self.invalidations[resource] += 1;
        self.entries.retain(|it| it.key.1 != resource);
    }

    /// Makes the answers to the calls of this caller that are under way too old to be stored.
    fn discard_calls_under_way(&mut self, request: &RequestHead) {
        *self.caller_invalidations.entry((request.resource, request.caller)).or_default() += 1;
    }

    /// Invalidates the entries of one caller.
    fn revoke(&mut self, request: &RequestHead) {
        self.discard_calls_under_way(request);
        self.entries.retain(|it| (it.key.1, it.key.2) != (request.resource, request.caller));
    }

    /// Updates an entry after a 304 (RFC 9111 §4.3.4 and §3.2).
    fn freshen(&mut self, call: &CallStart, response: &Response) {
        let update = &response.head;
        let validates = |entry: &&Entry| match (update.etag, update.last_modified) {
            (Some(etag), _) => entry.head.etag == Some(etag),
            (None, Some(date)) => entry.head.last_modified == Some(date),
            (None, None) => false,
        };
        let Some(before) = self.entries.iter().find(|it| it.matches(&call.request) && validates(it)) else {
            return;
        };
        let lines = || end_to_end(&response.headers).filter(|(name, _)| *name != "content-type");
        let mut headers = before.headers.clone();
        headers.retain(|(name, _)| lines().all(|(it, _)| it != *name));
        headers.extend(lines());
        let updated = Response { status: before.status, head: before.head.updated(update), headers };
        let (body, generated_at) = (before.body.clone(), self.generated_at(call, update));
        match self.entry_for(call, &updated) {
            Some(entry) => self.store(call, Entry { body, generated_at, ..entry }),
            None => self.revoke(&call.request),
        }
    }

    /// The time at which the answer was generated (RFC 9111 §4.2.3, without the `Date`).
    fn generated_at(&self, call: &CallStart, head: &ResponseHead) -> i64 {
        head.age.filter(|age| *age > 0).map_or(self.now, |age| call.at - 1000 * age)
    }

    /// The entry for a response, still without its body. `None` if the response may not be stored (RFC 9111 §3).
    fn entry_for(&self, call: &CallStart, response: &Response) -> Option<Entry> {
        let (request, head) = (&call.request, &response.head);
        let is_good = (200..300).contains(&response.status) && ![206, 226].contains(&response.status);
        let vary = match &head.vary {
            None => Vec::new(),
            Some(Vary::On(names)) => names.iter().map(|name| (*name, request.lines(name).to_vec())).collect(),
            Some(Vary::OnEverything) => return None,
        };
        let (fresh_for, served_for) = self.lifetime(head, request.caller != 0)?;
        (is_good && !head.sets_cookie && !head.is_stream).then(|| Entry {
            key: request.key(),
            vary,
            head: head.clone(),
            status: response.status,
            headers: end_to_end(&response.headers).collect(),
            body: String::new(),
            received_at: self.now,
            generated_at: self.generated_at(call, head),
            fresh_for,
            served_for,
        })
    }

    /// The times for which a response is fresh and may be served. `None` if the response may not be stored.
    fn lifetime(&self, head: &ResponseHead, is_private: bool) -> Option<(i64, i64)> {
        let directives = head.cache_control.as_deref().unwrap_or_default();
        let mut must_revalidate = false;
        for directive in directives {
            match directive {
                Directive::NoStore | Directive::NoCache => return None,
                Directive::Private if !is_private => return None,
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
        let by_dates = head.expires.map(|expires| match (expires, head.date.flatten()) {
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

    fn may_be_served(&self, entry: &Entry, request: &RequestHead) -> bool {
        let age = entry.age(self.now);
        let staleness = age - entry.fresh_for;
        let mut max_age = i64::MAX;
        let mut max_stale: Option<i64> = None;
        let mut stale_if_error: Option<i64> = None;
        let mut min_fresh = i64::MIN;
        for directive in &request.cache_control {
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
            _ if request.has(Directive::NoCache) || -staleness < min_fresh => false,
            (None, most) => age <= max_age && most.is_none_or(|most| staleness <= most),
        };
        age < entry.served_for && is_wanted
    }
}

/// The headers without those of the connection.
fn end_to_end(headers: &[Line]) -> impl Iterator<Item = Line> {
    headers.iter().filter(|(name, _)| !["connection", "x-hop"].contains(name)).cloned()
}
