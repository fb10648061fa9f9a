//! Other domains: which domain a name belongs to, its key, and where its DC is.
//!
//! A pinned domain's key is the operator's; what the driver finds for it must agree. For any other domain
//! the driver answers with the key as well, from the domain's own web server. Nothing found is asked for again
//! at once, and only so many domains are looked for at a time: names come from nodes, who may make
//! them up.

use core::fmt;
use std::collections::BTreeMap;

use ntm_proto::crypto::PublicKeyBytes;
use ntm_proto::id::{Fqdn, TransactionId};
use ntm_proto::identity::Role;
use ntm_proto::session::handshake::Incoming;
use ntm_proto::time::Instant;
use ntm_proto::wire::message::ServerHello;

use crate::coordinator::{Arrival, Coordinator, Event, ForeignDc, LookupFailed};
use crate::limits::{LOOKUP_AGAIN_AFTER, LOOKUP_VALID, LOOKUP_WITHIN, MAX_CALLERS, MAX_LOOKUPS, MAX_WAITING_PER_PEER};
use crate::peers::Who;

#[derive(Debug, Default)]
pub(crate) struct Domains {
    found: BTreeMap<Fqdn, (ForeignDc, Instant)>,
    lookups: BTreeMap<Fqdn, Lookup>,
}

/// A name the driver was asked for.
#[derive(Debug)]
struct Lookup {
    /// While it is looked for; afterwards it was not found, and is not looked for again before `until`.
    pending: bool,
    until: Instant,
    /// Communications that wait for it.
    paths: Vec<u32>,
    /// The handshake of that domain's own DC, which called before its key was known here.
    caller: Option<Box<Caller>>,
}

/// A server handshake that waits until its domain's key is known.
struct Caller {
    at: Arrival,
    incoming: Incoming,
    transaction: TransactionId,
    hello: ServerHello,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("from", &self.at.from).finish_non_exhaustive()
    }
}

impl Domains {
    pub(crate) fn len(&self) -> usize {
        self.found.len() + self.lookups.len()
    }
}

impl Coordinator {
    /// The answer to [`Event::FindDomain`].
    pub fn handle_domain_found(&mut self, now: Instant, domain: &Fqdn, found: Result<ForeignDc, LookupFailed>) {
        let Some(lookup) = self.domains.lookups.remove(domain) else {
            self.stats.dropped.unexpected_answer += 1;
            return;
        };
        let (waiting, caller) = (lookup.paths, lookup.caller);
        if let Ok(dc) = found
            && self.take_domain(now, domain, dc)
        {
            // What was found may be a domain above the caller's: looking for the caller's again would never end.
            if let Some(caller) = caller
                && self.domain_key(&caller.hello.cert.domain).is_some()
            {
                let Caller { at, incoming, transaction, hello } = *caller;
                self.handle_server_handshake(&Arrival { now, ..at }, incoming, transaction, &hello);
            }
            for path in waiting {
                self.go_on(now, path);
            }
            return;
        }
        self.domains.lookups.insert(
            domain.clone(),
            Lookup { pending: false, until: now + LOOKUP_AGAIN_AFTER, paths: Vec::new(), caller: None },
        );
        for path in waiting {
            self.fail_waiting(now, path);
        }
    }

    /// A DC called whose domain's key is not known: it is looked for, and the newest call answered then,
    /// which saves the caller the wait until it calls again.
    pub(crate) fn hold_caller(
        &mut self,
        at: &Arrival,
        incoming: Incoming,
        transaction: TransactionId,
        hello: &ServerHello,
    ) {
        let domain = hello.cert.domain.clone();
        self.stats.dropped.unknown_domain += 1;
        self.look_up(at.now, &domain, None);
        let callers = self.domains.lookups.values().filter(|lookup| lookup.caller.is_some()).count();
        if let Some(lookup) = self.domains.lookups.get_mut(&domain)
            && lookup.pending
            && (callers < MAX_CALLERS || lookup.caller.is_some())
        {
            lookup.caller = Some(Box::new(Caller { at: *at, incoming, transaction, hello: hello.clone() }));
        }
    }

    /// The domain that `name` belongs to, as far as it can be told; otherwise the name's parent.
    pub(crate) fn domain_of(&self, name: &Fqdn) -> Option<Fqdn> {
        let known = self.config.domains.keys().chain(self.domains.found.keys()).chain(self.peers.domains());
        let best = known.filter(|domain| name.is_within(domain)).max_by_key(|domain| domain.as_str().len());
        match best {
            Some(domain) => Some(domain.clone()),
            None => name.as_str().split_once('.').and_then(|(_, parent)| Fqdn::parse(parent).ok()),
        }
    }

    /// The key that signs the domain's certificates.
    pub(crate) fn domain_key(&self, domain: &Fqdn) -> Option<PublicKeyBytes> {
        let pinned = self.config.domains.get(domain).map(|pinned| pinned.domain_key);
        pinned.or_else(|| self.domains.found.get(domain).map(|(dc, _)| dc.domain_key))
    }

    /// The row of the domain's DC, if it is known where it is.
    pub(crate) fn dc_of(&mut self, now: Instant, domain: &Fqdn) -> Option<u32> {
        let who = Who::Domain(domain.clone());
        if let Some(sibling) = self.config.siblings.get(domain).cloned() {
            return self.peer_row(who, &sibling);
        }
        if let Some(row) = self.peers.find(&who) {
            return Some(row);
        }
        let unix = self.config.wall.unix(now);
        let pinned = self.config.domains.get(domain);
        let pinned = pinned.and_then(|pinned| Some((pinned.cert.clone()?, pinned.domain_key))).filter(|(cert, key)| {
            cert.domain == *domain && cert.verify(self.config.provider, key, Role::Direction, unix).is_ok()
        });
        let cert = match (pinned, self.domains.found.get(domain)) {
            (Some((cert, _)), _) => cert,
            (None, Some((dc, until))) if now < *until && unix < dc.cert.not_after => dc.cert.clone(),
            _ => return None,
        };
        self.peer_row(who, &cert)
    }

    /// Has the driver look for a domain, for a communication if one waits. False where it was not found a
    /// moment ago, or too many are being looked for.
    pub(crate) fn look_up(&mut self, now: Instant, domain: &Fqdn, path: Option<u32>) -> bool {
        if let Some(lookup) = self.domains.lookups.get_mut(domain)
            && now < lookup.until
        {
            if !lookup.pending || lookup.paths.len() >= MAX_WAITING_PER_PEER {
                return false;
            }
            lookup.paths.extend(path);
            return true;
        }
        if self.domains.lookups.len() >= MAX_LOOKUPS {
            self.domains.lookups.retain(|_, lookup| now < lookup.until);
            if self.domains.lookups.len() >= MAX_LOOKUPS {
                self.stats.overflowed += 1;
                return false;
            }
        }
        let lookup =
            Lookup { pending: true, until: now + LOOKUP_WITHIN, paths: path.into_iter().collect(), caller: None };
        self.domains.lookups.insert(domain.clone(), lookup);
        self.stats.lookups += 1;
        self.event(Event::FindDomain(domain.clone()));
        true
    }

    /// The domain's DC is not where it was found: it is looked for anew next time.
    pub(crate) fn forget_domain(&mut self, domain: &Fqdn) {
        self.domains.found.remove(domain);
    }

    fn take_domain(&mut self, now: Instant, asked: &Fqdn, dc: ForeignDc) -> bool {
        let domain = dc.cert.domain.clone();
        let unix = self.config.wall.unix(now);
        let pinned = self.config.domains.get(&domain).map(|pinned| pinned.domain_key);
        let holds = asked.is_within(&domain)
            && domain != self.config.domain
            && pinned.is_none_or(|pinned| pinned == dc.domain_key)
            && dc.cert.verify(self.config.provider, &dc.domain_key, Role::Direction, unix).is_ok();
        if !holds {
            self.stats.dropped.bad_certificate += 1;
            return false;
        }
        if self.domains.found.len() >= MAX_LOOKUPS {
            self.domains.found.retain(|_, (_, until)| now < *until);
        }
        if self.domains.found.len() >= MAX_LOOKUPS
            && let Some(first) = self.domains.found.keys().next().cloned()
        {
            self.domains.found.remove(&first);
            self.stats.evicted += 1;
        }
        self.domains.found.insert(domain, (dc, now + LOOKUP_VALID));
        true
    }
}
