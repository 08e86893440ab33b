//! How many leases go into one answer: payloads are up to a megabyte each, and a message over the transport's limit would end
//! the stream with everything on it.

use crate::proto::v1;
use prost::Message;
use std::collections::VecDeque;

/// Takes the next leases that together have at most `bytes_max` bytes; one goes, however large.
pub(in crate::grpc::workers) fn portion(
    leases: &mut VecDeque<v1::Lease>,
    bytes_max: usize,
) -> Vec<v1::Lease> {
    let mut bytes = 0;
    let fits = |lease: &&v1::Lease| {
        let first = bytes == 0;
        bytes += lease.encoded_len();
        first || bytes <= bytes_max
    };
    let count = leases.iter().take_while(fits).count();
    leases.drain(..count).collect()
}

#[cfg(test)]
mod tests {
    use crate::grpc::workers::portion::portion;
    use crate::proto::v1;
    use bytes::Bytes;

    #[test]
    fn portions_keep_to_their_bound_and_never_stand_still() {
        let lease = |bytes| v1::Lease { payload: Bytes::from(vec![b'x'; bytes]), ..v1::Lease::default() };
        let mut leases = [400, 400, 400, 5_000, 10, 10].map(lease).into();
        let counts: Vec<usize> = std::iter::from_fn(|| {
            let taken = portion(&mut leases, 1_000).len();
            (taken > 0).then_some(taken)
        })
        .collect();
        assert_eq!(counts, [2, 1, 1, 2]);
    }
}
