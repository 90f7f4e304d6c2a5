//! A few things in a row, in place: millions of them are copied.

/// At most `N` things, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Few<T, const N: usize> {
    /// Those that are there come first.
    places: [Option<T>; N],
}

impl<T: Copy + PartialEq, const N: usize> Few<T, N> {
    pub(crate) fn new() -> Self {
        Self { places: [None; N] }
    }

    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first().is_none()
    }

    pub(crate) fn first(&self) -> Option<T> {
        self.places[0]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.places.iter().copied().map_while(|thing| thing)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().map_while(Option::as_mut)
    }

    pub(crate) fn contains(&self, thing: T) -> bool {
        self.iter().any(|other| other == thing)
    }

    /// # Panics
    ///
    /// When there is no room: a bound of the model is too low.
    pub(crate) fn push(&mut self, thing: T) {
        let place = self.places.iter_mut().find(|place| place.is_none());
        *place.expect("there is room") = Some(thing);
    }

    pub(crate) fn remove(&mut self, place: usize) -> Option<T> {
        let thing = self.places[place].take();
        self.places[place..].rotate_left(1);
        thing
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        self.remove(0)
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(T) -> bool) {
        let before = std::mem::replace(self, Self::new());
        before.iter().filter(|thing| keep(*thing)).for_each(|thing| self.push(thing));
    }

    pub(crate) fn sort_unstable(&mut self)
    where
        T: Ord,
    {
        let len = self.len();
        self.places[..len].sort_unstable();
    }
}
