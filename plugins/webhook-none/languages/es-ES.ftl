method = Sin autenticación
notes = El evento se envía tal cual. El destinatario no puede saber quién lo ha enviado, así que elija este método solo en una red de confianza o con una dirección que nadie más conozca.
