//! Values in places that are used again: a number finds its value without a search.

/// The number of a place.
pub(super) type Place = u32;

pub(super) struct Slab<V> {
    places: Vec<Option<V>>,
    free: Vec<Place>,
}

impl<V> Slab<V> {
    pub(super) fn new() -> Self {
        Slab {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, value: V) -> Place {
        if let Some(place) = self.free.pop() {
            self.places[place as usize] = Some(value);
            return place;
        }
        // The bounds of queues are far below 2^32.
        let place = Place::try_from(self.places.len()).unwrap_or(Place::MAX);
        self.places.push(Some(value));
        place
    }

    pub(super) fn get(&self, place: Place) -> Option<&V> {
        self.places.get(place as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut V> {
        self.places.get_mut(place as usize)?.as_mut()
    }

    pub(super) fn remove(&mut self, place: Place) -> Option<V> {
        let value = self.places.get_mut(place as usize)?.take()?;
        self.free.push(place);
        Some(value)
    }

    /// Drops what is in a place, where it is.
    pub(super) fn clear(&mut self, place: Place) {
        if let Some(value @ Some(_)) = self.places.get_mut(place as usize) {
            *value = None;
            self.free.push(place);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &V)> {
        let places = (0..).zip(&self.places);
        places.filter_map(|(place, value)| value.as_ref().map(|value| (place, value)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.places.iter_mut().flatten()
    }

    /// Takes all out, in the order of their places.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = V> + use<V> {
        self.free.clear();
        std::mem::take(&mut self.places).into_iter().flatten()
    }
}
