//! Places for those who are not known yet. A newcomer always gets one; if there are none left, somebody who has shown nothing goes.
//!
//! Who goes is of the address that holds the most places, so that somebody who opens connections by the thousand drives out his own.
//! Among those of that address it is the oldest without a handshake, then the oldest.

use super::Limits;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

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
    pub fn place(&self, address: IpAddr, limits: Limits) -> (Place, oneshot::Receiver<()>) {
        let origin = Origin::of(address);
        let mut waiting = self.lock();
        let here = waiting.strangers.values().filter(|known| known.origin == origin).count();
        if here >= limits.strangers_of_one_address.max(1) {
            waiting.evict(origin);
        } else if waiting.strangers.len() >= limits.strangers.max(1)
            && let Some(crowd) = waiting.crowd()
        {
            waiting.evict(crowd);
        }
        let (evict, evicted) = oneshot::channel();
        let number = waiting.next;
        waiting.next += 1;
        waiting.strangers.insert(number, Known { origin, greeted: false, evict });
        (Place { strangers: self.clone(), number }, evicted)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Whose strangers are the most; of several such the one with the oldest.
    fn crowd(&self) -> Option<Origin> {
        let mut counts: HashMap<Origin, usize> = HashMap::new();
        self.strangers.values().for_each(|known| *counts.entry(known.origin).or_default() += 1);
        let most = counts.values().max()?;
        self.strangers.values().find(|known| counts.get(&known.origin) == Some(most)).map(|known| known.origin)
    }

    fn evict(&mut self, origin: Origin) {
        let of = |greeted: bool| self.strangers.iter().find(|(_, k)| k.origin == origin && k.greeted == greeted).map(|(n, _)| *n);
        if let Some(known) = of(false).or_else(|| of(true)).and_then(|number| self.strangers.remove(&number)) {
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

    /// Which of them had to go.
    fn gone(all: &mut [(Place, oneshot::Receiver<()>)]) -> Vec<usize> {
        all.iter_mut().enumerate().filter_map(|(at, (_, evicted))| evicted.try_recv().is_ok().then_some(at)).collect()
    }

    #[test]
    fn a_crowd_drives_out_its_own_and_nobody_else() {
        let strangers = Strangers::default();
        let mut crowd: Vec<_> = [1, 1, 1, 2, 2, 2].map(|last| strangers.place(address(last), limits())).into();
        crowd[0].0.greeted();
        let mut newcomer = [strangers.place(address(3), limits())];
        assert_eq!(gone(&mut crowd), [1], "the oldest that has shown nothing");
        for _ in 0..50 {
            crowd.push(strangers.place(address(1), limits()));
            crowd.push(strangers.place(address(2), limits()));
        }
        assert!(gone(&mut newcomer).is_empty(), "a newcomer was driven out by those who hold more places");
        assert!(strangers.lock().strangers.len() <= limits().strangers);
        drop((crowd, newcomer));
        assert!(strangers.lock().strangers.is_empty());
    }

    #[test]
    fn of_one_address_the_oldest_goes_and_a_handshake_is_worth_something() {
        let strangers = Strangers::default();
        let mut all: Vec<_> = (0..3).map(|_| strangers.place(address(1), limits())).collect();
        all[0].0.greeted();
        all.push(strangers.place(address(1), limits()));
        assert_eq!(gone(&mut all), [1]);
        all[2].0.greeted();
        all[3].0.greeted();
        all.push(strangers.place(address(1), limits()));
        assert_eq!(gone(&mut all[..1]), [0], "when all have shown as much, the oldest");
    }

    #[test]
    fn a_network_of_ipv6_is_one_origin() {
        let origin = |text: &str| Origin::of(text.parse().unwrap());
        assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:1"));
        assert_ne!(origin("2001:db8:0:1::1"), origin("2001:db8::1"));
        assert_eq!(origin("::ffff:10.0.0.1"), origin("10.0.0.1"));
    }
}
