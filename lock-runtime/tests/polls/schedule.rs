//! Which of several things happens next, for all schedules in turn.

/// One schedule, and the way to the next: depth first, through all that deviate from the undisturbed course at most so many
/// times.
///
/// A run asks it at every point where one of several things may happen next; the first of them is what happens undisturbed.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// What was chosen, of how many.
    choices: Vec<(usize, usize)>,
    asked: usize,
    deviations: usize,
    deviations_at_most: usize,
}

impl Schedule {
    pub(crate) fn undisturbed(deviations_at_most: usize) -> Self {
        Self { choices: Vec::new(), asked: 0, deviations: 0, deviations_at_most }
    }

    /// What happens next, of so many possibilities.
    pub(crate) fn choose(&mut self, of: usize) -> usize {
        let of = if self.deviations < self.deviations_at_most { of } else { 1 };
        if self.asked == self.choices.len() {
            self.choices.push((0, of));
        }
        let (chosen, before) = self.choices[self.asked];
        assert_eq!(before, of, "the same choices led elsewhere before: a run is not deterministic");
        self.asked += 1;
        self.deviations += usize::from(chosen > 0);
        chosen
    }

    /// The schedule after this one, if there is one.
    pub(crate) fn next(mut self) -> Option<Self> {
        while let Some((chosen, of)) = self.choices.pop() {
            if chosen + 1 < of {
                self.choices.push((chosen + 1, of));
                return Some(Self { asked: 0, deviations: 0, ..self });
            }
        }
        None
    }
}
