//! Places for those who are not known yet. If there are none left for a newcomer, somebody who has shown nothing goes.
//!
//! Who goes is of the address that holds the most places, so that somebody who opens connections by the thousand drives out his own.
//! Among those of that address it is the oldest without a handshake, then the oldest. Only where nobody holds more than his share do the
//! young stay and the newcomer comes again: when all agents of a cluster come at once, none would get through its handshake otherwise.

use super::Limits;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use tokio::time::Instant;

#[derive(Debug, Clone, Default)]
pub(super) struct Strangers(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// In the order in which they came.
    strangers: BTreeMap<u64, Known>,
}

#[derive(Debug)]
struct Known {
    origin: Origin,
    since: Instant,
    /// Its handshake is done.
    greeted: bool,
    evict: oneshot::Sender<()>,
}

/// Whose addresses count as one: who has an IPv6 address has a whole network of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Origin(IpAddr);

impl Origin {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => Self(IpAddr::V6((u128::from(v6) >> 64 << 64).into())),
            v4 => Self(v4),
        }
    }
}

impl Strangers {
    /// A place, and what resolves when it is given to somebody else.
    pub fn place(&self, address: IpAddr, limits: Limits, now: Instant) -> Option<(Place, oneshot::Receiver<()>)> {
        let origin = Origin::of(address);
        let mut waiting = self.lock();
        let here = waiting.strangers.values().filter(|known| known.origin == origin).count();
        let crowd = if here >= limits.strangers_of_one_address.max(1) {
            Some((origin, here))
        } else {
            waiting.crowd().filter(|_| waiting.strangers.len() >= limits.strangers.max(1))
        };
        if let Some((crowd, size)) = crowd {
            let (number, since) = waiting.oldest(crowd)?;
            if size <= here + 1 && now.saturating_duration_since(since) < limits.young {
                return None;
            }
            waiting.evict(number);
        }
        let (evict, evicted) = oneshot::channel();
        let number = waiting.next;
        waiting.next += 1;
        waiting.strangers.insert(number, Known { origin, since: now, greeted: false, evict });
        Some((Place { strangers: self.clone(), number }, evicted))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Whose strangers are the most, and how many; of several such the one with the oldest.
    fn crowd(&self) -> Option<(Origin, usize)> {
        let mut counts: HashMap<Origin, usize> = HashMap::new();
        self.strangers.values().for_each(|known| *counts.entry(known.origin).or_default() += 1);
        let most = *counts.values().max()?;
        let crowd = self.strangers.values().find(|known| counts.get(&known.origin) == Some(&most))?;
        Some((crowd.origin, most))
    }

    /// Who of an address goes first, and since when it is there.
    fn oldest(&self, origin: Origin) -> Option<(u64, Instant)> {
        let of = |greeted: bool| self.strangers.iter().find(|(_, known)| known.origin == origin && known.greeted == greeted);
        of(false).or_else(|| of(true)).map(|(number, known)| (*number, known.since))
    }

    fn evict(&mut self, number: u64) {
        if let Some(known) = self.strangers.remove(&number) {
            let _gone_by_itself = known.evict.send(());
        }
    }
}

/// A stranger's place; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    strangers: Strangers,
    number: u64,
}

impl Place {
    /// Its handshake is done, which has cost it something.
    pub fn greeted(&self) {
        if let Some(known) = self.strangers.lock().strangers.get_mut(&self.number) {
            known.greeted = true;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.strangers.lock().strangers.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn limits() -> Limits {
        Limits { strangers: 6, strangers_of_one_address: 3, ..Limits::default() }
    }

    type Placed = (Place, oneshot::Receiver<()>);

    /// Which of them had to go.
    fn gone(all: &mut [Placed]) -> Vec<usize> {
        all.iter_mut().enumerate().filter_map(|(at, (_, evicted))| evicted.try_recv().is_ok().then_some(at)).collect()
    }

    #[test]
    fn a_crowd_drives_out_its_own_and_nobody_else() {
        let (strangers, now) = (Strangers::default(), Instant::now());
        let mut crowd: Vec<Placed> = [1, 1, 1, 2, 2, 2].map(|last| strangers.place(address(last), limits(), now).unwrap()).into();
        crowd[0].0.greeted();
        let mut newcomer = [strangers.place(address(3), limits(), now).expect("no place beside a crowd, however young it is")];
        assert_eq!(gone(&mut crowd), [1], "the oldest that has shown nothing");
        for round in 0..50 {
            let now = now + limits().young * round;
            crowd.extend([1, 2].into_iter().filter_map(|last| strangers.place(address(last), limits(), now)));
        }
        assert!(gone(&mut newcomer).is_empty(), "a newcomer was driven out by those who hold more places");
        assert!(strangers.lock().strangers.len() <= limits().strangers);
        drop((crowd, newcomer));
        assert!(strangers.lock().strangers.is_empty());
    }

    #[test]
    fn of_one_address_the_oldest_goes_and_a_handshake_is_worth_something() {
        let (strangers, now) = (Strangers::default(), Instant::now());
        let mut all: Vec<Placed> = (0..3).map(|_| strangers.place(address(1), limits(), now).unwrap()).collect();
        all[0].0.greeted();
        assert!(strangers.place(address(1), limits(), now).is_none(), "one in the midst of its handshake was driven out");
        let later = now + limits().young;
        all.push(strangers.place(address(1), limits(), later).unwrap());
        assert_eq!(gone(&mut all), [1]);
        all[2].0.greeted();
        all[3].0.greeted();
        all.push(strangers.place(address(1), limits(), later).unwrap());
        assert_eq!(gone(&mut all[..1]), [0], "when all have shown as much, the oldest");
    }

    #[test]
    fn when_everybody_comes_at_once_handshakes_are_done_and_places_are_free_again_in_time() {
        let (strangers, now) = (Strangers::default(), Instant::now());
        let mut all: Vec<Placed> = (1..=6).map(|last| strangers.place(address(last), limits(), now).unwrap()).collect();
        assert!((7..=200).all(|last| strangers.place(address(last), limits(), now).is_none()));
        assert!(gone(&mut all).is_empty());
        assert!(strangers.place(address(7), limits(), now + limits().young).is_some(), "the silent keep newcomers out");
        assert_eq!(gone(&mut all), [0]);
    }

    #[test]
    fn a_network_of_ipv6_is_one_origin() {
        let origin = |text: &str| Origin::of(text.parse().unwrap());
        assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:1"));
        assert_ne!(origin("2001:db8:0:1::1"), origin("2001:db8::1"));
        assert_eq!(origin("::ffff:10.0.0.1"), origin("10.0.0.1"));
    }
}
