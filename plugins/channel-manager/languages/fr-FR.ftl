method = Gestionnaire de canaux
notes = Informe un canal de vente des réservations, des chambres et des tarifs dans son propre format. Ce qui vient du canal lui-même ne lui est pas renvoyé.
channel-id = Canal
channel-id-help = L’identifiant ou le nom sous lequel votre système connaît ce canal. Les changements qu’il marque ainsi ne sont pas envoyés.
channel-token = Jeton d’accès
channel-token-help = Fourni par le canal. Il est envoyé avec chaque message (Bearer).
channel-properties = Établissements
channel-properties-help = Un par ligne : votre numéro, un signe égal, l’identifiant chez le canal, par exemple 7 = HTL-7. Les autres établissements ne sont pas annoncés au canal.
channel-rooms = Chambres
channel-rooms-help = De la même façon, par exemple 3 = DBL. Les autres chambres sont omises. Laissez vide si le canal utilise vos numéros.
channel-tasks = Tâches qui importent depuis ce canal
channel-tasks-help = Des noms séparés par des espaces. Les changements faits par une telle tâche de votre système ne sont pas envoyés.
channel-token-format = Le jeton contient des espaces ou d’autres caractères qui ne peuvent pas être envoyés. Ils ont peut-être été copiés avec le reste.
channel-line = Ligne { $line } : écrivez votre numéro, un signe égal et l’identifiant chez le canal, par exemple 7 = HTL-7.
channel-line-twice = La ligne { $line } contient un numéro qui figure déjà plus haut. Gardez l’une des deux.
