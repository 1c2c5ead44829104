# $name is the person who is greeted, or the text of `everybody`.
greeting = Hallo { $name }!
everybody = wereld
