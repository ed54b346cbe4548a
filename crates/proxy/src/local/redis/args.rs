//! The words of a request, the command's name first.

use keyway_proto::resp::Request;

/// Words that are at hand at once; later ones are walked to.
const AT_HAND: usize = 4;

/// The words of one request.
pub(super) struct Args<'a> {
    request: &'a Request<'a>,
    first: [&'a [u8]; AT_HAND],
}

impl<'a> Args<'a> {
    #[inline]
    pub(super) fn new(request: &'a Request<'a>) -> Args<'a> {
        let mut first: [&[u8]; AT_HAND] = [request.name, request.first, &[], &[]];
        if request.arguments > 2 {
            for (slot, word) in first.iter_mut().zip(request.arguments()).skip(2) {
                *slot = word.bytes;
            }
        }
        Args { request, first }
    }

    /// The command's name as it came.
    pub(super) fn name(&self) -> &'a [u8] {
        self.first[0]
    }

    /// The number of words, the name included.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.request.arguments as usize
    }

    /// One of the first four words; empty if there is none.
    #[inline]
    pub(super) fn get(&self, index: usize) -> &'a [u8] {
        self.first[index]
    }

    /// The words from `index` on.
    pub(super) fn from(&self, index: usize) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        self.request.arguments().skip(index).map(|argument| argument.bytes)
    }
}
