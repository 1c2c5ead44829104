# $name is the person who is greeted, or the text of `everybody`.
greeting = Bonjour { $name } !
everybody = le monde
