long-stay = { $nights } nights or more
group = a group
greeting = Dear { $guest }, we look forward to your stay.
