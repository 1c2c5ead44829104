long-stay = { $nights } Nächte und mehr
group = eine Gruppe
greeting = Guten Tag { $guest }, wir freuen uns auf Ihren Aufenthalt.
