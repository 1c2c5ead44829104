method = Gestor de canales
notes = Informa a un canal de venta de las reservas, las habitaciones y las tarifas en su propio formato. Lo que viene del propio canal no se le devuelve.
channel-id = Canal
channel-id-help = El identificador o el nombre con el que su sistema conoce este canal. Los cambios que marca así no se envían.
channel-token = Token de acceso
channel-token-help = Del canal. Se envía con cada mensaje (Bearer).
channel-properties = Alojamientos
channel-properties-help = Uno por línea: su número, un signo igual y el identificador del canal, por ejemplo 7 = HTL-7. Los demás alojamientos no se comunican al canal.
channel-rooms = Habitaciones
channel-rooms-help = Del mismo modo, por ejemplo 3 = DBL. Las demás habitaciones se omiten. Déjelo vacío si el canal usa sus números.
channel-tasks = Tareas que importan de este canal
channel-tasks-help = Nombres separados por espacios. Los cambios que hace una de estas tareas de su sistema no se envían.
channel-token-format = El token contiene espacios u otros caracteres que no se pueden enviar. Quizá se copiaron con el resto.
channel-line = Línea { $line }: escriba su número, un signo igual y el identificador del canal, por ejemplo 7 = HTL-7.
channel-line-twice = La línea { $line } tiene un número que ya está en una línea anterior. Conserve una de las dos.
