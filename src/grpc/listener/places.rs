//! Room for connections: in all and for each peer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::Mutex;

/// Counts connections against the two caps.
#[derive(Clone, Debug)]
pub(crate) struct Places(Arc<Room>);

#[derive(Debug)]
struct Room {
    total_max: usize,
    per_peer_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    peers: HashMap<IpAddr, usize>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("there are {0} connections, as many as are allowed in all")]
    Total(usize),
    #[error("it has {0} connections, as many as one peer is allowed")]
    Peer(usize),
}

/// One connection's place; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Place {
    room: Arc<Room>,
    peer: IpAddr,
}

impl Places {
    pub(crate) fn new(total_max: usize, per_peer_max: usize) -> Places {
        Places(Arc::new(Room { total_max, per_peer_max, taken: Mutex::default() }))
    }

    /// Takes a place for a connection from `address`.
    pub(crate) fn take(&self, address: IpAddr) -> Result<Place, Full> {
        let peer = peer_of(address);
        let room = &self.0;
        let mut taken = room.taken.lock().expect("no holder panics");
        if taken.total >= room.total_max {
            return Err(Full::Total(room.total_max));
        }
        if taken.peers.get(&peer).is_some_and(|&count| count >= room.per_peer_max) {
            return Err(Full::Peer(room.per_peer_max));
        }
        taken.total += 1;
        *taken.peers.entry(peer).or_default() += 1;
        Ok(Place { room: Arc::clone(room), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.room.taken.lock().expect("no holder panics");
        taken.total -= 1;
        let left = taken.peers.get_mut(&self.peer).map(|count| {
            *count -= 1;
            *count
        });
        if left == Some(0) {
            taken.peers.remove(&self.peer);
        }
    }
}

/// Whom an address is counted for: itself, or for IPv6 its /64, of which one peer usually owns every address.
fn peer_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)))
        }
        canonical @ (IpAddr::V4(_) | IpAddr::V6(_)) => canonical,
    }
}

#[cfg(test)]
mod tests {
    use crate::grpc::listener::places::Full;
    use crate::grpc::listener::places::Places;
    use std::net::IpAddr;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_place_is_given_back_and_peers_are_counted_apart() {
        let places = Places::new(3, 2);
        let first = places.take(address("10.0.0.1")).unwrap();
        let _second = places.take(address("::ffff:10.0.0.1")).unwrap();
        assert_eq!(places.take(address("10.0.0.1")).unwrap_err(), Full::Peer(2));
        let _third = places.take(address("2001:db8::1")).unwrap();
        assert_eq!(places.take(address("10.0.0.9")).unwrap_err(), Full::Total(3));
        drop(first);
        let _fourth = places.take(address("2001:db8::ffff")).unwrap();
        assert_eq!(places.take(address("10.0.0.1")).unwrap_err(), Full::Total(3));
        drop(_fourth);
        assert!(places.take(address("10.0.0.1")).is_ok());
    }

    #[test]
    fn one_ipv6_network_is_one_peer() {
        let places = Places::new(9, 1);
        let _held = places.take(address("2001:db8::1")).unwrap();
        assert_eq!(places.take(address("2001:db8::2")).unwrap_err(), Full::Peer(1));
        assert!(places.take(address("2001:db8:0:1::1")).is_ok());
    }
}
